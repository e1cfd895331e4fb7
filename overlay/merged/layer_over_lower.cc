// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {
namespace {

// Every translated block has a place of its own in the state area.
Result<void> check_translated_places(const OpenedUpper& opened) {
  const size_t count = opened.tables.translated.size();
  const uint64_t length = opened.area.translated_blocks.length;
  if (count * opened.geometry->merged().block_size_bytes != length) {
    return corrupt("{}: state area: {} translated blocks, but {} bytes for them",
                   opened.volume.name(), count, length);
  }
  return {};
}

// Whether the layer, or one below it, owns the inode.
bool is_own_in_any(const LayerOverLower* layer, InodeNumber inode) {
  while (layer != nullptr && inode.value() <= layer->geometry().merged().inode_count()) {
    if (layer->items().is_own(inode)) {
      return true;
    }
    layer = layer->layer_below();
  }
  return false;  // or the layers left are too small for it
}

}  // namespace

Result<std::unique_ptr<LayerOverLower>> LayerOverLower::load(const Below& below,
                                                             const ReadableFile& upper,
                                                             const LogSink& log) {
  UNIONFS_ASSIGN(OpenedUpper opened, open_upper(below.volume(), upper, below.identity()));
  static const std::atomic<bool> is_cancelled{false};
  UNIONFS_ASSIGN(auto layer, make(below, std::move(opened), log));
  // What a layer below owns is compared there, and falls through here at most where it does there.
  // To compare it in each layer would compose the same blocks again and again.
  const auto can_wait = [&below](InodeNumber inode) { return is_own_in_any(below.layer(), inode); };
  UNIONFS_ASSIGN(layer->uncompared_, compare_some(layer->lower_comparison(is_cancelled), can_wait));
  return layer;
}

Result<std::unique_ptr<LayerOverLower>> LayerOverLower::make(const Below& below, OpenedUpper opened,
                                                             const LogSink& log) {
  UNIONFS_TRY(check_translated_places(opened));
  below.reader().use_log(log);
  UNIONFS_ASSIGN(Layer layer,
                 Layer::load(opened.volume, *opened.geometry, std::move(opened.tables)));
  return std::unique_ptr<LayerOverLower>(
      new LayerOverLower(below, std::move(opened), std::move(layer)));
}

LayerOverLower::LayerOverLower(const Below& below, OpenedUpper opened, Layer layer)
    : below_(below),
      opened_(std::move(opened)),
      layer_(std::move(layer)),
      synthesis_(below, opened_.volume, *opened_.geometry, layer_),
      view_(*this, nullptr) {}

bool LayerOverLower::has_uncompared() const {
  const LayerOverLower* layer = this;
  while (layer != nullptr && layer->uncompared().empty()) {
    layer = layer->layer_below();
  }
  return layer != nullptr;
}

}  // namespace unionfs
