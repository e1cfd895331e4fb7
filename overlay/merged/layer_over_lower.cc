// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/layer_over_lower.h"

#include <algorithm>

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

// The lowest layer that owns the inode, from this one down; nullptr if none does.
const LayerOverLower* lowest_owner(const LayerOverLower* layer, InodeNumber inode) {
  const LayerOverLower* lowest = nullptr;
  // Layers further down may be too small for it.
  while (layer != nullptr && inode.value() <= layer->geometry().merged().inode_count()) {
    lowest = layer->items().is_own(inode) ? layer : lowest;
    layer = layer->layer_below();
  }
  return lowest;
}

// Whether its opening has compared what falls through of the inode.
bool has_compared(const LayerOverLower& layer, InodeNumber inode) {
  static const std::atomic<bool> is_cancelled{false};
  const std::optional<uint32_t> index = layer.lower_comparison(is_cancelled).index_of(inode);
  const std::vector<uint32_t>& left = layer.uncompared();
  return index && !std::binary_search(left.begin(), left.end(), *index);
}

}  // namespace

Result<std::unique_ptr<LayerOverLower>> LayerOverLower::load(const Below& below,
                                                             const ReadableFile& upper,
                                                             const LogSink& log) {
  UNIONFS_ASSIGN(OpenedUpper opened, open_upper(below.volume(), upper, below.identity()));
  static const std::atomic<bool> is_cancelled{false};
  UNIONFS_ASSIGN(auto layer, make(below, std::move(opened), log));
  // Of the lower, an inode shows here at most what it shows in the lowest layer that owns it.  To
  // compare that in each layer would compose the same blocks again and again.
  const auto can_wait = [&below](InodeNumber inode) {
    const LayerOverLower* const lowest = lowest_owner(below.layer(), inode);
    return lowest != nullptr && has_compared(*lowest, inode);
  };
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
  while (layer != nullptr && layer->is_compared()) {
    layer = layer->layer_below();
  }
  return layer != nullptr;
}

}  // namespace unionfs
