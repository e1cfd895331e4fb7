// SPDX-License-Identifier: BSD-3-Clause
//
// The hash index of a large directory (EXT2_INDEX_FL): which of its blocks, the
// leaves, can hold a name.  Index blocks look like directory blocks without
// names to those who do not know them.
#ifndef UNIONFS_FSPARSE_HTREE_H
#define UNIONFS_FSPARSE_HTREE_H

#include <cstdint>
#include <string_view>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/little_endian.h"
#include "fsparse/volume.h"

namespace unionfs {
namespace ext2 {

constexpr uint8_t kHashLegacy = 0;
constexpr uint8_t kHashHalfMd4 = 1;
constexpr uint8_t kHashTea = 2;
constexpr uint8_t kUnsignedHashOffset = 3;  // added where chars are unsigned
constexpr uint32_t kMaxIndexLevels = 1;     // indirect_levels: dx_nodes between root and leaves
constexpr uint32_t kIndexBlockMask = 0x0fffffff;  // of a dx_entry's block

// In the first block of the directory, behind "." and "..".
struct IndexRootInfo {
  Le32 reserved_zero;
  uint8_t hash_version;
  uint8_t info_length;      // 8
  uint8_t indirect_levels;  // 0 or 1
  uint8_t unused_flags;     // 0
};
static_assert(sizeof(IndexRootInfo) == 8);

// A slot of an index block.  In slot 0 limit and count take the hash's place:
// its hash is 0, and `limit` slots fit the block, `count` are used.
struct IndexEntry {
  Le32 hash;
  Le32 block;  // a file block of the directory
};
static_assert(sizeof(IndexEntry) == 8);

struct IndexCountLimit {
  Le16 limit;
  Le16 count;
};
static_assert(sizeof(IndexCountLimit) == 4);

constexpr uint32_t kIndexRootInfoOffset = 24;  // behind "." and ".." of 12 bytes each
constexpr uint32_t kIndexRootEntriesOffset = kIndexRootInfoOffset + sizeof(IndexRootInfo);
constexpr uint32_t kIndexNodeEntriesOffset = 8;  // behind one free directory entry

}  // namespace ext2

// One slot: leads to the names with hashes from `hash` to the next slot's.  A
// set lowest bit of `hash` says that names of hash - 1 began in the slot before.
struct IndexSlot {
  uint32_t hash = 0;
  FileBlock block;

  bool operator==(const IndexSlot&) const = default;
};

struct IndexRoot {
  uint8_t hash_version = 0;  // as on disk: legacy, half md4 or tea
  uint32_t indirect_levels = 0;
  std::vector<IndexSlot> slots;  // ascending, at least one
};

// Names an index block in messages.
struct IndexPlace {
  std::string_view image_name;
  InodeNumber directory;
  FileBlock block;
};

// Both check limit, count, the order of the hashes, and that each block is one
// of the directory's and not its root.  An unknown hash version or flag, or too
// many levels, is "unsupported", anything else wrong is "corrupt".
Result<IndexRoot> parse_index_root(ConstByteSpan block, uint64_t directory_block_count,
                                   const IndexPlace& place);
Result<std::vector<IndexSlot>> parse_index_node(ConstByteSpan block, uint64_t directory_block_count,
                                                const IndexPlace& place);

// The hash of a name in an image: seed and signedness are the superblock's.  The second form is
// for an image that is being made; `image_name` is for the message.
Result<uint32_t> name_hash(const Volume& volume, uint8_t hash_version, std::string_view name);
Result<uint32_t> name_hash(const ext2::Superblock& superblock, std::string_view image_name,
                           uint8_t hash_version, std::string_view name);

// The index blocks between the root and the leaves, in the root's order; none in
// an index of one level.  Fails where the root cannot be parsed; what the blocks
// hold is not looked at.
Result<std::vector<FileBlock>> index_nodes(const Volume& volume, const InodeRecord& directory);

// The leaves that can hold a name of that hash, the one where it would be put
// first; more only where names of one hash go over the end of a leaf.  An index in
// which they go over more than kMaxLeavesOfHash is damaged.  `name` is not "." or
// ".." (those are in the root).
constexpr size_t kMaxLeavesOfHash = 64;
Result<std::vector<FileBlock>> index_leaves(const Volume& volume, const InodeRecord& directory,
                                            std::string_view name);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_HTREE_H
