// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/layer_sources.h"

#include <array>

namespace unionfs {

bool LayerSources::was_own(InodeNumber inode) const {
  const uint32_t bit = (inode.value() - 1) % layout().inodes_per_group;
  return layer.own_inodes().test(layout().group_of(inode), bit);
}

bool LayerSources::was_own(BlockNumber block) const {
  const GroupNumber group = layout().group_of(block);
  const auto bit = static_cast<uint32_t>(block - layout().blocks_of(group).begin);
  return layer.own_blocks().test(group, bit);
}

Result<bool> LayerSources::is_changed(BlockNumber block) const {
  if (!bitmap.test(block)) {
    return false;
  }
  std::array<std::byte, ext2::kMaxBlockSizeBytes> old_bytes;
  std::array<std::byte, ext2::kMaxBlockSizeBytes> new_bytes;
  const size_t size = layout().block_size_bytes;
  UNIONFS_TRY(before_view.read(offset_of(block), ByteSpan(old_bytes).first(size)));
  UNIONFS_TRY(merged_view.read(offset_of(block), ByteSpan(new_bytes).first(size)));
  return !same_bytes(ByteSpan(old_bytes).first(size), ByteSpan(new_bytes).first(size));
}

Result<std::optional<std::vector<NamedEntry>>> LayerSources::entries_below(
    const InodeRecord& directory) const {
  using Entries = std::optional<std::vector<NamedEntry>>;
  auto entries = read_directory(lower, directory);
  if (entries) {
    return Entries(std::move(*entries));
  }
  return entries.error().kind == ErrorKind::kCorrupt ? Result<Entries>(std::nullopt)
                                                     : Failure(std::move(entries).error());
}

}  // namespace unionfs
