// SPDX-License-Identifier: BSD-3-Clause
//
// Builds the next layer out of a session: what the client's raw blocks mean as
// files.  Everything it decides is staged; the upper is only read.
//
//   before: the merged image as the old layer alone gives it
//   merged: the merged image with the session, which the new layer must give
//
// The order of the work (each part a file):
//   changes   which inodes changed, which were freed     layer_changes.cc
//   blocks    which blocks a changed inode owns          layer_blocks.cc
//   names     where own inodes are named, up to the root layer_names.cc
//   form      own things in the layer's form, counters   layer_form.cc,
//                                                        directory_form.cc
#ifndef UNIONFS_OVERLAY_CHECKPOINT_LAYER_BUILDER_H
#define UNIONFS_OVERLAY_CHECKPOINT_LAYER_BUILDER_H

#include <atomic>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/host/staged_file.h"
#include "overlay/merged/merged_view.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// What a checkpoint did, for logs and tests.
struct CheckpointFigures {
  uint64_t written_blocks = 0;  // by the session
  uint64_t own_inodes_added = 0;
  uint64_t directories_searched = 0;  // for names of files changed in place
  uint64_t inodes_searched = 0;       // for owners of blocks changed in place
  uint64_t staged_bytes = 0;
};

class LayerBuilder {
 public:
  struct Sources {
    const Volume& lower;
    const Volume& upper;  // the old layer's ext2 part
    const Volume& before;
    const Volume& merged;
    const MergedView& before_view;
    const MergedView& merged_view;
    const SessionBitmap& bitmap;
    const Geometry& geometry;
    const Layer& layer;  // the old one
    const std::atomic<bool>& is_cancelled;
  };

  LayerBuilder(const Sources& sources, StagedFile& stage);

  // Stages the new layer's ext2 part.  An error says why this session cannot
  // be a layer; then nothing that was staged counts.
  Result<void> build();

  const LayerTables& tables() const { return tables_; }
  const ext2::Superblock& superblock() const { return superblock_; }
  // Blocks whose bytes in the upper mean nothing in the new layer.
  const std::vector<BlockRange>& dead() const { return dead_; }
  // Blocks whose merged bytes the new layer must give again.
  const std::set<BlockNumber>& to_prove() const { return to_prove_; }
  const CheckpointFigures& figures() const { return figures_; }

 private:
  struct TreeWalk {
    InodeNumber inode;
    TranslatedKind data_kind = TranslatedKind::kDirectory;  // of level 0, unless plain
    bool is_plain_data = false;
    bool can_fall_through = false;
    uint64_t own_blocks = 0;
  };
  // An inode in the layer's form, as far as it is known.
  struct Form {
    InodeRecord record;
    std::array<uint32_t, ext2::kBlockSlots> pointers = {};
    uint64_t own_blocks = 0;
  };

  // layer_changes.cc
  Result<void> collect_written();
  void sort_written(BlockRange range);
  Result<void> check_superblock() const;
  Result<void> find_freed_and_new_inodes();
  Result<void> find_changed_inodes();
  Result<void> find_freed_blocks();
  Result<void> free_inode(InodeNumber inode);
  Result<bool> differs(BlockNumber block) const;

  // layer_blocks.cc
  Result<void> own_inode(InodeNumber inode);
  Result<void> walk_former(InodeNumber inode);
  Result<bool> visit(TreeWalk& walk, BlockRole role, BlockNumber block, BlockNumber below);
  Result<bool> falls_through(const TreeWalk& walk, BlockNumber block, BlockNumber below);
  Result<void> claim(InodeNumber inode, BlockNumber block);
  Result<void> own_data(BlockNumber block);
  Result<void> own_xattrs(const Form& form, bool was_own);
  Result<bool> is_xattr_block(const Volume& volume, BlockNumber block) const;
  Result<void> settle_xattrs();
  Result<void> own_unclaimed();
  Result<bool> own_unclaimed_block(BlockNumber block);
  Result<void> search_owners();
  Result<void> check_claims();
  Result<void> check_freed();

  // layer_names.cc
  Result<void> settle_names();
  Result<void> scan_directory(InodeNumber directory);
  Result<std::unordered_map<std::string, InodeNumber>> names_below(InodeNumber directory);
  Result<void> search_names();
  Result<bool> search_group(GroupNumber group, const std::set<InodeNumber>& wanted);
  Result<std::set<InodeNumber>> nameless() const;
  Result<void> check_reachable() const;

  // directory_form.cc
  Result<void> form_directory(InodeNumber directory, Form& form);
  Result<bool> keeps_place(InodeNumber directory);
  Result<bool> place_whiteouts(InodeNumber directory,
                               std::map<BlockNumber, std::vector<std::byte>>& blocks,
                               const std::vector<std::string>& names);

  // layer_form.cc
  Result<void> form_inodes();
  Result<void> form_groups();
  Result<void> form_group(GroupNumber group);
  Result<void> form_superblock();
  Result<void> form_boot();
  Result<void> form_tables();
  Result<void> find_dead();
  Result<void> find_to_prove();

  uint64_t offset_of(BlockNumber block) const { return merged_layout_.offset_of(block); }
  bool was_own(InodeNumber inode) const { return old_own_inodes_.test(inode); }
  Result<void> stage_block(BlockNumber block, ConstByteSpan bytes) {
    return stage_.write(offset_of(block), bytes);
  }
  const char* image() const { return "merged image"; }

  const Sources& from_;
  StagedFile& stage_;
  const Layout& merged_layout_;
  UsedNumbers used_below_;
  UsedNumbers used_before_;
  UsedNumbers used_;

  // What the session wrote.
  std::vector<BlockRange> written_data_;
  std::vector<std::pair<const FixedRange*, BlockNumber>> written_tables_;
  std::set<GroupNumber> written_inode_bitmaps_;
  std::set<GroupNumber> written_block_bitmaps_;
  std::set<GroupNumber> written_groups_;  // bitmaps or descriptors

  // The old layer's sets and the new one's.
  const InodeSet old_own_inodes_;
  const BlockSet old_own_blocks_;
  InodeSet own_inodes_;
  BlockSet own_blocks_;
  InodeSet inode_whiteouts_;
  BlockSet block_whiteouts_;
  std::map<BlockNumber, TranslatedBlock> translated_;
  std::map<InodeNumber, KeptInode> kept_inodes_;
  std::map<BlockNumber, KeptXattr> kept_xattrs_;

  // Work.
  std::deque<InodeNumber> queue_;  // to become (or stay) own and be formed
  std::set<InodeNumber> queued_;
  std::map<InodeNumber, Form> forms_;
  BlockSet claimed_;  // by an inode that was formed
  std::set<BlockNumber> claimed_xattrs_;
  BlockSet former_;                                // of an inode that was formed or freed, before
  std::vector<BlockRange> freed_;                  // by the bitmaps; ascending
  std::map<BlockNumber, int64_t> xattr_uses_;      // by own inodes: change of their number
  std::map<uint32_t, int64_t> directory_changes_;  // own directories, per group
  std::set<BlockNumber> ownerless_;                // changed in place, owner not known
  std::set<InodeNumber> directories_;              // to be formed
  std::deque<InodeNumber> unscanned_;              // of these, whose names were not looked at yet
  std::map<InodeNumber, uint32_t> names_found_;
  std::set<std::pair<InodeNumber, InodeNumber>> same_as_below_;  // directory, one it names

  LayerTables tables_;
  ext2::Superblock superblock_;
  std::vector<BlockRange> dead_;
  std::set<BlockNumber> to_prove_;
  CheckpointFigures figures_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_LAYER_BUILDER_H
