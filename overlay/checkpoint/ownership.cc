// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/ownership.h"

#include <deque>

#include "overlay/checkpoint/own_xattrs.h"
#include "overlay/checkpoint/unclaimed_blocks.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// Whether a layer can have this record as its own.  In reserved inodes, programs leave
// files, or what is left of files.  e2fsck takes away the type of other things, and then
// nothing in the record means anything.
Result<void> check_can_be_own(const Layout& layout, const InodeRecord& record) {
  const InodeNumber inode = record.number();
  if (inode.value() >= layout.first_inode || inode == kRootDirectory) {
    return {};
  }
  if (inode.value() >= ext2::kGoodOldFirstInode) {
    return unsupported("{}: reserved inode {} was changed, and a layer has no place for it",
                       kMergedImage, inode);
  }
  if (record.type() != 0 && !record.is_regular()) {
    return unsupported("{}: reserved inode {} became something else than a file", kMergedImage,
                       inode);
  }
  return {};
}

// Blocks and names ask for each other: an inode that becomes own needs its names,
// so the directories that hold them become own, and their other names may make
// more inodes own.  This class holds what is decided and what waits to be looked
// at, and goes on until nothing waits.
class Settlement {
 public:
  Settlement(const LayerSources& from, const SessionChanges& changes, StagedFile& stage)
      : from_(from), changes_(changes), stage_(stage), own_(from, changes.given_up) {}

  Result<Ownership> run() {
    UNIONFS_TRY(give_up_inodes());
    UNIONFS_TRY(give_up_blocks());
    for (const InodeNumber inode : changes_.inodes) {
      queue_.add(inode);
    }
    UNIONFS_TRY(settle());
    UNIONFS_TRY(queue_unclaimed());
    UNIONFS_TRY(settle());
    UNIONFS_TRY(hide_lower_files());
    UNIONFS_TRY(settle_xattrs(from_, xattr_uses_, own_.sets, stage_));
    return std::move(own_);
  }

 private:
  // Repeats until nothing more becomes own.
  Result<void> settle() {
    while (true) {
      UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
      while (!queue_.empty()) {
        UNIONFS_TRY(own_inode(queue_.take()));
      }
      if (!unscanned_.empty()) {
        const InodeRecord& directory = own_.inodes.at(unscanned_.front()).record;
        unscanned_.pop_front();
        UNIONFS_TRY(scan_names(from_, directory, own_.sets, own_.names, queue_));
        continue;
      }
      UNIONFS_ASSIGN(const auto nameless, find_nameless(from_, own_.inodes, own_.names));
      if (nameless.empty()) {
        return {};
      }
      UNIONFS_TRY(search_names(from_, own_.inodes, nameless, own_.names, queue_));
    }
  }

  // Makes an inode the layer's own, or has it formed anew if it was already.
  Result<void> own_inode(InodeNumber inode) {
    UNIONFS_ASSIGN(InodeRecord record, read_inode(from_.merged, inode));
    UNIONFS_TRY(check_can_be_own(from_.layout(), record));
    UNIONFS_TRY(hide_remains(inode));
    UNIONFS_TRY(add_former_blocks(from_, inode, own_.claims.before));
    own_.sets.own_inodes.set(inode);
    own_.inodes_added += from_.was_own(inode) ? 0 : 1;
    own_.directory_changes[from_.layout().group_of(inode)] += record.is_directory() ? 1 : 0;
    UNIONFS_TRY(give_up_uses(inode));
    UNIONFS_ASSIGN(OwnInode own,
                   own_file_blocks(from_, std::move(record), own_.sets, own_.claims, stage_));
    UNIONFS_TRY(own_xattr_block(from_, own.record, own_.sets, own_.claims, xattr_uses_));
    if (inode.value() == ext2::kResizeInode && own.pointers != SlotPointers{}) {
      // e2fsck wants it empty in an image without the feature, as a layer is.
      return unsupported("{}: resize inode: its blocks were changed", kMergedImage);
    }
    if (own.has_doubtful_holes) {
      doubtful_.push_back(inode);
    }
    if (own.record.is_directory()) {
      unscanned_.push_back(inode);
    }
    own_.inodes.emplace(inode, std::move(own));
    return {};
  }

  // Takes back what an inode counted for in the old layer.
  Result<void> give_up_uses(InodeNumber inode) {
    if (!from_.was_own(inode)) {
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord former, read_inode(from_.upper, inode));
    own_.directory_changes[from_.layout().group_of(inode)] -= former.is_directory() ? 1 : 0;
    if (const auto xattrs = from_.upper.file_block(former.file_acl())) {
      --xattr_uses_[*xattrs];
    }
    return {};
  }

  Result<void> give_up_inodes() {
    for (const InodeNumber inode : changes_.freed_inodes) {
      UNIONFS_ASSIGN(const bool is_below, from_.used_below.is_used(inode));
      if (is_below) {
        own_.sets.inode_whiteouts.set(inode);
      }
      UNIONFS_TRY(hide_remains(inode));
      UNIONFS_TRY(give_up_uses(inode));
      own_.sets.own_inodes.clear(inode);
    }
    for (const InodeNumber inode : changes_.changed_slots) {
      UNIONFS_TRY(hide_remains(inode));
    }
    return {};
  }

  // The bytes that the lower has in the slot of a free inode show, and would fill the
  // holes of an own file with that number; unless the inode is whited out.
  Result<void> hide_remains(InodeNumber inode) {
    UNIONFS_ASSIGN(const bool is_below, from_.used_below.is_used(inode));
    if (is_below || inode.value() < from_.layout().first_inode ||
        inode.value() > from_.lower.layout().inode_count()) {
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord remains, read_inode(from_.lower, inode));
    if (!is_empty_slot(remains.bytes())) {
      own_.sets.inode_whiteouts.set(inode);
    }
    return {};
  }

  // A hole shows what the lower's file has there, unless that block is whited out; but a
  // block that the lower gives to two files may be in use.  Then nothing of the lower's
  // file shows.
  Result<void> hide_lower_files() {
    for (const InodeNumber inode : doubtful_) {
      OwnInode& own = own_.inodes.at(inode);
      UNIONFS_ASSIGN(const bool is_hole, keeps_holes(from_, own.record, own_.sets));
      if (is_hole) {
        continue;
      }
      own_.sets.inode_whiteouts.set(inode);
      UNIONFS_ASSIGN(
          own, own_file_blocks_again(from_, std::move(own.record), own_.sets, own_.claims, stage_));
    }
    return {};
  }

  Result<void> give_up_blocks() {
    for (const BlockRange& range : changes_.freed_blocks) {
      for (BlockNumber block = range.begin; block < range.end; ++block) {
        UNIONFS_ASSIGN(const bool is_below, from_.used_below.is_used(block));
        if (is_below) {
          own_.sets.block_whiteouts.set(block);
        }
        own_.sets.own_blocks.clear(block);
        own_.sets.translated.erase(block);
        own_.sets.kept_xattrs.erase(block);
      }
    }
    return {};
  }

  // Blocks that were written while no inode changed.
  Result<void> queue_unclaimed() {
    UNIONFS_ASSIGN(const UnclaimedBlocks unclaimed,
                   find_unclaimed(from_, changes_, own_.claims.now, queue_));
    own_.inodes_searched = unclaimed.inodes_searched;
    for (const KeptXattr& count : unclaimed.counts) {
      own_.sets.kept_xattrs[count.block] = count;
      if (!from_.was_own(count.block)) {
        own_.sets.translated[count.block] = {count.block, kRootDirectory, 0,
                                             TranslatedKind::kXattrCount, 0};
      }
    }
    return {};
  }

  const LayerSources& from_;
  const SessionChanges& changes_;
  StagedFile& stage_;
  Ownership own_;
  InodeQueue queue_;                   // to become own, or to be formed anew
  std::deque<InodeNumber> unscanned_;  // own directories whose names nobody looked at yet
  std::vector<InodeNumber> doubtful_;  // own files with holes that may show the lower's blocks
  XattrUses xattr_uses_;
};

}  // namespace

Result<Ownership> settle_ownership(const LayerSources& from, const SessionChanges& changes,
                                   StagedFile& stage) {
  return Settlement(from, changes, stage).run();
}

}  // namespace unionfs
