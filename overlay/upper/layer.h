// SPDX-License-Identifier: BSD-3-Clause
//
// The layer: what the upper, as an ext2 image, owns of the merged image, what
// it whites out of the lower, and what it cannot say in ext2's own terms.
//
// In each of the three spaces - names, inodes, blocks - a thing of the merged
// image is the layer's own, falls through to the lower, or is whited out;
// numbers mean the same in lower, upper and merged.
#ifndef UNIONFS_OVERLAY_UPPER_LAYER_H
#define UNIONFS_OVERLAY_UPPER_LAYER_H

#include <optional>
#include <vector>

#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/geometry/group_bits.h"
#include "overlay/upper/state_area.h"
#include "overlay/upper/upper_format.h"

namespace unionfs {

// The merged superblock's words that the layer's superblock has otherwise.
struct MergedFeatures {
  uint32_t rev_level = 0;
  uint32_t compat = 0;
  uint32_t incompat = 0;
  uint32_t ro_compat = 0;

  bool has_file_types() const { return (incompat & ext2::kIncompatFiletype) != 0; }
};

using upper_format::TranslatedKind;

// A block whose bytes in the layer differ from the merged bytes, or must stay as
// they are while a session writes.  It is own, unless its kind is kXattrCount.
struct TranslatedBlock {
  BlockNumber block;
  InodeNumber inode;
  uint32_t file_block = 0;
  TranslatedKind kind = TranslatedKind::kDirectory;
  uint8_t level = 0;
};

struct KeptInode {
  InodeNumber inode;
  uint32_t block_sectors = 0;  // i_blocks
  uint32_t links_count = 0;
};

struct KeptXattr {
  BlockNumber block;
  uint32_t refcount = 0;
};

struct GroupCounters {
  GroupNumber group;
  uint32_t free_blocks_count = 0;
  uint32_t free_inodes_count = 0;
  uint32_t used_dirs_count = 0;
};

// What the state area keeps of a layer; see upper_format.h.
struct LayerTables {
  MergedFeatures features;
  uint32_t reserved_inodes_own = 0;  // bit n - 1: inode n
  bool boot_own = false;
  std::vector<TranslatedBlock> translated;  // ascending by block
  std::vector<KeptInode> kept_inodes;       // ascending by inode
  std::vector<KeptXattr> kept_xattrs;       // ascending by block
  std::vector<GroupCounters> counters;      // ascending by group
  std::vector<BlockRange> block_whiteouts;  // ascending, disjoint
  std::vector<InodeRange> inode_whiteouts;  // ascending, disjoint
};

std::vector<std::byte> encode_layer_tables(const LayerTables& tables);
// Adds an inode to ranges that are ascending and not beside one another, and stay so.
void add_whiteout(std::vector<InodeRange>& ranges, InodeNumber inode);
// Sets the bits of whiteouts, numbered within the merged groups.
void set_whiteouts(const LayerTables& tables, const Layout& merged, GroupBits& blocks,
                   GroupBits& inodes);
// Checks every number against the merged image's layout.
Result<LayerTables> read_layer_tables(const Image& upper, FileRange range, const Layout& merged);

// Immutable, so thread-safe.
class Layer {
 public:
  // Takes the ext2 part of the upper, whose geometry must be the merged one.
  // Cost follows what the layer owns: bitmaps are read only of groups whose
  // descriptors say that something in them is used, unless a count proves to be wrong.
  static Result<Layer> load(const Volume& upper, const Geometry& geometry, LayerTables tables);

  // The upper's own superblock: everything that is not geometry, features or a
  // counter shows in the merged one.
  const ext2::Superblock& superblock() const { return superblock_; }
  const LayerTables& tables() const { return tables_; }

  // Own D-blocks, numbered within their group from its first block.
  const GroupBits& own_blocks() const { return own_blocks_; }
  // Own inodes, numbered within their group from its first inode.
  const GroupBits& own_inodes() const { return own_inodes_; }
  const GroupBits& block_whiteouts() const { return block_whiteouts_; }
  const GroupBits& inode_whiteouts() const { return inode_whiteouts_; }

  // Index of the first translated block at or after `block`.
  size_t translated_at_or_after(BlockNumber block) const;
  // The entry of the block; nullptr if it is not translated.
  const TranslatedBlock* translated(BlockNumber block) const;
  const KeptInode* kept_inode(InodeNumber inode) const;
  const KeptXattr* kept_xattr(BlockNumber block) const;

 private:
  Layer(const Volume& upper, const Geometry& geometry, LayerTables tables);
  Result<void> load_own(const Volume& upper, const Geometry& geometry);
  Result<bool> load_bitmaps(const Volume& upper, const Geometry& geometry, bool believes_counts);
  Result<void> check_translated(const std::string& name, const Geometry& geometry) const;

  ext2::Superblock superblock_;
  LayerTables tables_;
  GroupBits own_blocks_;
  GroupBits own_inodes_;
  GroupBits block_whiteouts_;
  GroupBits inode_whiteouts_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LAYER_H
