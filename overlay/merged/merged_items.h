// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image of a layer over what is below it, item by item: a bitmap, an
// inode, an indirect block's pointers, the names of a directory.  Each is the
// layer's own, or whited out, or what the level below gives for the same number;
// so an item costs at most one question to that level, and 12 levels are 12
// questions.
//
// The session does not show here.  Synthesis puts items together to blocks.
#ifndef UNIONFS_OVERLAY_MERGED_MERGED_ITEMS_H
#define UNIONFS_OVERLAY_MERGED_MERGED_ITEMS_H

#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "overlay/geometry/geometry.h"
#include "overlay/merged/below.h"
#include "overlay/merged/name_tables.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// Immutable; thread-safe.  Refers to its parts, which must outlive it.
class MergedItems {
 public:
  // `upper` is the ext2 part of the layer's file.
  MergedItems(const Below& below, const Volume& upper, const Geometry& geometry, const Layer& layer)
      : below_(below), upper_(upper), geometry_(geometry), layer_(layer), own_names_(upper) {}

  // Of the layer itself.  The merged image has such an inode.
  bool is_own(InodeNumber inode) const;

  // As Below's functions of these names.
  Result<void> used_blocks(GroupNumber group, ByteSpan out) const;
  Result<void> used_inodes(GroupNumber group, ByteSpan out) const;
  Result<InodeRecord> inode_at(InodeNumber inode) const;
  Result<std::optional<PointerBlock>> pointers_at(InodeNumber inode, BlockRole role) const;
  Result<std::unique_ptr<NamesBelow>> names_of(InodeNumber directory, BlockNumber block,
                                               FileBlock file_block) const;

  // The merged records of the inodes from `first` on, which share a block of the inode table, into
  // their slots.  A slot holds what the level below has for its number; zeros where that level
  // ends before it.
  Result<void> own_inodes(InodeNumber first, ByteSpan slots) const;
  // Turns the bytes of an own indirect block into the merged ones.
  Result<void> fill_own_pointers(const TranslatedBlock& entry, ByteSpan block) const;

 private:
  bool is_whited_out(InodeNumber inode) const;
  bool is_whited_out(BlockNumber block) const;
  Result<InodeRecord> below_or_empty(InodeNumber inode) const;
  Result<void> merge_own(InodeNumber inode, ConstByteSpan own, ByteSpan slot) const;
  Result<std::optional<PointerBlock>> falling_pointers(InodeNumber inode, BlockRole role) const;
  Result<bool> may_fall_through(InodeNumber inode) const;
  Result<void> fill_holes(std::span<Le32> pointers, std::span<const ClaimedBlock> below) const;
  const TranslatedBlock* own_indirect(InodeNumber inode, BlockRole role) const;

  const Below& below_;
  const Volume& upper_;
  const Geometry& geometry_;
  const Layer& layer_;
  const NameTables own_names_;  // of the upper
  // Own indirect blocks by inode and role, as indexes of the table of translated blocks.
  // Made when a layer above first asks.
  mutable std::once_flag has_indirects_;
  mutable std::vector<uint32_t> indirects_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_MERGED_ITEMS_H
