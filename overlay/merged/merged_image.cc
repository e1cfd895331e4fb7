// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/merged_image.h"

namespace unionfs {

Result<void> MergedFile::read(uint64_t offset, ByteSpan buffer) const {
  if (offset > size_bytes() || buffer.size() > size_bytes() - offset) {
    return corrupt("{}: {} bytes at offset {} are past its end", name_, buffer.size(), offset);
  }
  return view_.read(offset, buffer);
}

FileExtent MergedFile::extent_at(uint64_t offset) const {
  FileExtent extent{false, size_bytes()};
  view_.for_each_extent(offset, size_bytes() - offset,
                        [&](uint64_t start, uint64_t length, bool is_hole) {
                          extent = {is_hole, start + length};
                          return false;
                        });
  return extent;
}

Result<std::unique_ptr<MergedImage>> MergedImage::open(std::string name, const MergedView& view) {
  std::unique_ptr<MergedImage> image(new MergedImage(std::move(name), view));
  UNIONFS_ASSIGN(image->volume_, Volume::open(image->file_, SuperblockUse::kMerged));
  return image;
}

Result<std::unique_ptr<LayerBelow>> LayerBelow::open(const LayerOverLower& layer) {
  LevelIdentity identity;
  if (layer.area().is_sealed()) {
    identity.kind = upper_format::ParentKind::kSealed;
    identity.chain = chain_digest_of_sealed(layer.below().chain_digest(), layer.area().seal);
    identity.path = layer.upper_file().name();
  }
  return open_frozen(layer, std::move(identity));
}

Result<std::unique_ptr<LayerBelow>> LayerBelow::open_frozen(const LayerOverLower& layer,
                                                            LevelIdentity identity) {
  UNIONFS_ASSIGN(auto image, MergedImage::open(layer.upper_file().name(), layer.view()));
  return std::unique_ptr<LayerBelow>(new LayerBelow(layer, std::move(image), std::move(identity)));
}

LayerBelow::LayerBelow(const LayerOverLower& layer, std::unique_ptr<MergedImage> image,
                       LevelIdentity identity)
    : layer_(layer),
      items_(layer.items()),
      image_(std::move(image)),
      identity_(std::move(identity)),
      flat_runs_(layer) {}

}  // namespace unionfs
