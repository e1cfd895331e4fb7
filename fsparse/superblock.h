// SPDX-License-Identifier: BSD-3-Clause
//
// The checked superblock of one ext2 image and the arithmetic that follows
// from it alone.
#ifndef UNIONFS_FSPARSE_SUPERBLOCK_H
#define UNIONFS_FSPARSE_SUPERBLOCK_H

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "fsparse/ext2_format.h"
#include "fsparse/image.h"
#include "fsparse/numbers.h"

namespace unionfs {

// The layout numbers of an image, as the superblock gives them.  Const methods
// are pure arithmetic; thread-safe.
struct Layout {
  uint32_t block_size_bytes = 0;  // 1024, 2048 or 4096
  uint64_t block_count = 0;       // s_blocks_count
  uint32_t first_data_block = 0;  // 1 for 1 KiB blocks, else 0
  uint32_t blocks_per_group = 0;  // multiple of 8
  uint32_t inodes_per_group = 0;
  uint32_t inode_size_bytes = 0;     // 128 .. block size, a power of two
  uint32_t first_inode = 0;          // s_first_ino: the first that is not reserved
  uint32_t reserved_gdt_blocks = 0;  // s_reserved_gdt_blocks
  uint32_t first_meta_group = 0;     // s_first_meta_bg; meaningful with has_meta_groups
  bool has_meta_groups = false;      // INCOMPAT_META_BG
  bool has_sparse_super = false;     // RO_COMPAT_SPARSE_SUPER
  bool has_sparse_super2 = false;    // COMPAT_SPARSE_SUPER2
  bool has_file_types = false;       // INCOMPAT_FILETYPE
  std::array<uint32_t, 2> backup_groups = {0, 0};  // s_backup_bgs

  bool operator==(const Layout&) const = default;

  uint64_t size_bytes() const { return block_count * block_size_bytes; }
  uint32_t group_count() const;
  uint32_t descriptors_per_block() const;
  // Blocks that hold group descriptors, one copy.
  uint32_t descriptor_block_count() const;
  uint32_t inodes_per_block() const { return block_size_bytes / inode_size_bytes; }
  uint32_t inode_table_block_count() const;  // per group
  uint64_t inode_count() const;
  uint32_t pointers_per_block() const { return block_size_bytes / 4; }

  BlockRange blocks_of(GroupNumber group) const;  // the last group may be short
  GroupNumber group_of(BlockNumber block) const;  // block >= first_data_block
  GroupNumber group_of(InodeNumber inode) const;  // inode >= 1
  uint64_t offset_of(BlockNumber block) const { return block.value() * block_size_bytes; }

  // The position of a number that an image gives; nothing if there is none.  The only
  // way from the one to the other.  A block is one of a group: not the boot block of an
  // image with blocks of 1 KiB.
  std::optional<BlockNumber> block(ClaimedBlock claimed) const;
  std::optional<InodeNumber> inode(ClaimedInode claimed) const;
  std::optional<GroupNumber> group(ClaimedGroup claimed) const;

  // Whether the group begins with a copy of the superblock.  Group 0 always.
  bool has_superblock(GroupNumber group) const;
  // The run of descriptor blocks in this group, as indices of descriptor
  // blocks: [0, s_first_meta_bg or all) where the superblock is copied, the
  // group's own meta group block where META_BG puts one, else none.
  struct DescriptorCopy {
    uint32_t first_index = 0;
    uint32_t count = 0;
    BlockNumber first_block;
  };
  DescriptorCopy descriptor_copy(GroupNumber group) const;
  // Where descriptor block `index` is looked for first (the primary copy).
  BlockNumber primary_descriptor_block(uint32_t index) const;
  // Descriptor blocks that follow the classic placement (behind each
  // superblock copy); those from here on are in their meta groups.
  uint32_t classic_descriptor_blocks() const;
};

// What an image must be to be taken.
enum class SuperblockUse {
  kLower,   // plain ext2, cleanly unmounted
  kUpper,   // a layer: plain ext2 plus INCOMPAT_WHITEOUT, and with that RO_COMPAT_GDT_CSUM
  kMerged,  // as kLower, but no file: only its client can mend it
};

// A superblock whose every field that this project relies on has been checked
// against the others and against the size of the image.  Immutable.
class Superblock {
 public:
  // Reads and checks; errors name the image and the field.
  static Result<Superblock> read(const Image& image, SuperblockUse use);

  const ext2::Superblock& raw() const { return raw_; }
  const Layout& layout() const { return layout_; }

 private:
  Superblock(const ext2::Superblock& raw, const Layout& layout) : raw_(raw), layout_(layout) {}

  ext2::Superblock raw_;
  Layout layout_;
};

// The layout numbers of a superblock whose fields are known to be sane.
Layout layout_of(const ext2::Superblock& raw);

// The UUID as text, in the usual 8-4-4-4-12 form.
std::string uuid_text(const std::array<uint8_t, 16>& uuid);

// Names of the features in the three words, separated by ", "; a word's bits that
// have no name come last, as one number: "incompat 0x80800".
std::string feature_names(uint32_t compat, uint32_t incompat, uint32_t ro_compat);

// The names of those with which an image is not taken as plain ext2; empty if it has none.
std::string refused_features(uint32_t compat, uint32_t incompat, uint32_t ro_compat);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_SUPERBLOCK_H
