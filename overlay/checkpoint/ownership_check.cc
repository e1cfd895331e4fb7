// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/ownership_check.h"

#include "fsparse/directory.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// Every directory that is formed leads up to the root, and not round in a circle.
// Its parent is formed, too.
Result<void> check_reachable(const LayerSources& from, const OwnInodes& inodes) {
  std::set<InodeNumber> good = {kRootDirectory};
  for (const auto& [start, own] : inodes) {
    if (!own.record.is_directory()) {
      continue;
    }
    std::set<InodeNumber> way;
    InodeNumber directory = start;
    while (!good.contains(directory)) {
      const auto found = inodes.find(directory);
      if (found == inodes.end() || !found->second.record.is_directory() ||
          !way.insert(directory).second) {
        return corrupt(
            "{}: directory inode {} is not below the root: following \"..\" leads to "
            "inode {}",
            kMergedImage, start, directory);
      }
      UNIONFS_ASSIGN(const auto parent, find_name(from.merged, found->second.record, ".."));
      directory = parent ? parent->inode : InodeNumber(0);
    }
    good.insert(way.begin(), way.end());
  }
  return {};
}

// Blocks that became a formed file's or free, and that no changed or freed inode gave up.
Result<BlockSet> find_disputed(const LayerSources& from, const SessionChanges& changes,
                               const Ownership& own) {
  BlockSet disputed(from.layout());
  for (const auto& [number, inode] : own.inodes) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    UNIONFS_TRY(walk_block_map(
        from.merged, inode.record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
          UNIONFS_ASSIGN(const bool was_used, from.used_before.is_used(block));
          if (was_used && !own.claims.before.test(block)) {
            disputed.set(block);
          }
          return WalkStep::kContinue;
        }));
  }
  for (const BlockRange& range : changes.freed_blocks) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      if (!own.claims.before.test(block)) {
        disputed.set(block);
      }
    }
  }
  return disputed;
}

// Such a block was nobody's before.  Or a file that did not change still has it; then the
// bitmap lies, or two files have the block, and the layer would take it away.
Result<void> check_dispute(const LayerSources& from, const BlockSet& disputed, InodeNumber inode,
                           BlockNumber block) {
  if (!disputed.test(block)) {
    return {};
  }
  UNIONFS_ASSIGN(const bool is_used, from.used.is_used(block));
  if (!is_used) {
    return corrupt("{}: inode {}: block {} is marked free", kMergedImage, inode, block);
  }
  return corrupt("{}: inode {}: block {} belongs to another file, too", kMergedImage, inode, block);
}

// Rare enough to look through all inodes.
Result<uint64_t> settle_disputes(const LayerSources& from, const BlockSet& disputed,
                                 const Ownership& own) {
  uint64_t searched = 0;
  for (uint32_t number = 1; number <= from.layout().inode_count(); ++number) {
    const InodeNumber inode(number);
    UNIONFS_ASSIGN(const bool is_used, from.used.is_used(inode));
    if (!is_used || own.inodes.contains(inode)) {
      continue;
    }
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    ++searched;
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from.merged, inode));
    if (const auto xattrs = from.merged.file_block(record.file_acl())) {
      UNIONFS_TRY(check_dispute(from, disputed, inode, *xattrs));
    }
    UNIONFS_TRY(
        walk_block_map(from.merged, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
          UNIONFS_TRY(check_dispute(from, disputed, inode, block));
          return WalkStep::kContinue;
        }));
  }
  return searched;
}

}  // namespace

Result<uint64_t> check_ownership(const LayerSources& from, const SessionChanges& changes,
                                 const Ownership& own) {
  UNIONFS_TRY(check_reachable(from, own.inodes));
  UNIONFS_ASSIGN(const BlockSet disputed, find_disputed(from, changes, own));
  return disputed.is_empty() ? uint64_t{0} : settle_disputes(from, disputed, own);
}

}  // namespace unionfs
