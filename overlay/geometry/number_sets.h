// SPDX-License-Identifier: BSD-3-Clause
//
// Sets of blocks and inodes of the merged image, and which of them an image's
// own bitmaps call used.
#ifndef UNIONFS_OVERLAY_GEOMETRY_NUMBER_SETS_H
#define UNIONFS_OVERLAY_GEOMETRY_NUMBER_SETS_H

#include <unordered_map>
#include <utility>
#include <vector>

#include "fsparse/bitmap.h"
#include "fsparse/volume.h"
#include "overlay/geometry/group_bits.h"

namespace unionfs {

// D-blocks by number, kept by group.  Not thread-safe.
class BlockSet {
 public:
  explicit BlockSet(const Layout& layout)
      : layout_(layout), bits_(layout.group_count(), layout.blocks_per_group) {}
  BlockSet(const Layout& layout, const GroupBits& bits) : layout_(layout), bits_(bits) {}

  bool test(BlockNumber block) const {
    const GroupNumber group = layout_.group_of(block);
    return bits_.test(group, bit_of(group, block));
  }
  void set(BlockNumber block) {
    const GroupNumber group = layout_.group_of(block);
    bits_.set(group, bit_of(group, block));
  }
  void clear(BlockNumber block) {
    const GroupNumber group = layout_.group_of(block);
    if (bits_.has_any(group)) {
      clear_bit(bits_.mutable_of(group), bit_of(group, block));
    }
  }
  const GroupBits& bits() const { return bits_; }
  bool is_empty() const { return first() == BlockNumber(layout_.block_count); }
  // The end of the image if there is none.
  BlockNumber first() const {
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      const ConstByteSpan bits = bits_.of(GroupNumber(number));
      const uint64_t bit = find_set_bit(bits, 0, bits.size() * 8);
      if (bit < bits.size() * 8) {
        return layout_.blocks_of(GroupNumber(number)).begin + bit;
      }
    }
    return BlockNumber(layout_.block_count);
  }

  // Calls visitor(BlockNumber) -> Result<void> for each block, in ascending order; an
  // error ends it and is returned.  The visitor may clear the block, and change no other.
  template <typename Visitor>
  Result<void> for_each(Visitor&& visitor) const {
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      const GroupNumber group(number);
      const BlockRange blocks = layout_.blocks_of(group);
      const uint64_t count = bits_.has_any(group) ? blocks.count() : 0;
      for (uint64_t bit = 0; (bit = find_set_bit(bits_.of(group), bit, count)) < count; ++bit) {
        UNIONFS_TRY(visitor(blocks.begin + bit));
      }
    }
    return {};
  }

 private:
  uint32_t bit_of(GroupNumber group, BlockNumber block) const {
    return static_cast<uint32_t>(block - layout_.blocks_of(group).begin);
  }

  const Layout& layout_;
  GroupBits bits_;
};

// Inodes by number, kept by group.  Not thread-safe.
class InodeSet {
 public:
  InodeSet(const Layout& layout, const GroupBits& bits) : layout_(layout), bits_(bits) {}

  bool test(InodeNumber inode) const { return bits_.test(layout_.group_of(inode), bit_of(inode)); }
  void set(InodeNumber inode) { bits_.set(layout_.group_of(inode), bit_of(inode)); }
  void clear(InodeNumber inode) {
    const GroupNumber group = layout_.group_of(inode);
    if (bits_.has_any(group)) {
      clear_bit(bits_.mutable_of(group), bit_of(inode));
    }
  }
  const GroupBits& bits() const { return bits_; }

 private:
  uint32_t bit_of(InodeNumber inode) const {
    return (inode.value() - 1) % layout_.inodes_per_group;
  }

  const Layout& layout_;
  GroupBits bits_;
};

// What the bitmaps of an image say; each is read once, when first asked for.  One
// that could not be read is read again.
// Numbers past the image's end are free.  Not thread-safe.
class UsedNumbers {
 public:
  explicit UsedNumbers(const Volume& volume) : volume_(volume) {}

  Result<bool> is_used(BlockNumber block) {
    const Layout& layout = volume_.layout();
    if (block.value() >= layout.block_count) {
      return false;
    }
    const GroupNumber group = layout.group_of(block);
    UNIONFS_ASSIGN(const ConstByteSpan bits,
                   load(block_bitmaps_, group, volume_.group(group).block_bitmap));
    return test_bit(bits, block - layout.blocks_of(group).begin);
  }
  Result<bool> is_used(InodeNumber inode) {
    const Layout& layout = volume_.layout();
    if (inode.value() > layout.inode_count()) {
      return false;
    }
    const GroupNumber group = layout.group_of(inode);
    UNIONFS_ASSIGN(const ConstByteSpan bits,
                   load(inode_bitmaps_, group, volume_.group(group).inode_bitmap));
    return test_bit(bits, (inode.value() - 1) % layout.inodes_per_group);
  }

 private:
  using Bitmaps = std::unordered_map<uint32_t, std::vector<std::byte>>;

  Result<ConstByteSpan> load(Bitmaps& bitmaps, GroupNumber group, BlockNumber place) {
    const auto found = bitmaps.find(group.value());
    if (found != bitmaps.end()) {
      return ConstByteSpan(found->second);
    }
    std::vector<std::byte> bytes(volume_.layout().block_size_bytes);
    UNIONFS_TRY(volume_.read_block(place, bytes));
    return ConstByteSpan(bitmaps.emplace(group.value(), std::move(bytes)).first->second);
  }

  const Volume& volume_;
  Bitmaps block_bitmaps_;
  Bitmaps inode_bitmaps_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_GEOMETRY_NUMBER_SETS_H
