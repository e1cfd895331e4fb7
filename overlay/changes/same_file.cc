// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/same_file.h"

#include <algorithm>

#include "overlay/upper/layer_tree.h"

namespace unionfs {
namespace {

// An inode of 128 bytes has no birth time, nor has one that the ext2 driver of the kernel
// made, whatever its size.
bool has_other_birth(const InodeRecord& below, const InodeRecord& now) {
  constexpr uint32_t kWithBirth = offsetof(ext2::InodeExtra, i_crtime_extra) + sizeof(Le32);
  if (below.extra_size_bytes() < kWithBirth || now.extra_size_bytes() < kWithBirth) {
    return false;
  }
  const auto below_extra = below.extra();
  const auto now_extra = now.extra();
  return below_extra && now_extra &&
         (below_extra->i_crtime != now_extra->i_crtime ||
          below_extra->i_crtime_extra != now_extra->i_crtime_extra);
}

}  // namespace

Result<bool> SameFile::is_possible(InodeNumber inode) {
  UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(inode));
  if (!is_used || inode_whiteouts_.test(inode)) {
    return false;
  }
  // The number may have been freed and given out again within one session.
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, inode));
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, inode));
  return below.type() == now.type() &&
         below.raw().i_generation.value() == now.raw().i_generation.value() &&
         !has_other_birth(below, now);
}

Result<bool> SameFile::is_proven(InodeNumber inode) {
  if (const auto known = proven_.find(inode); known != proven_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(const bool proven, prove(inode));
  proven_[inode] = proven;
  return proven;
}

Result<bool> SameFile::prove(InodeNumber inode) {
  UNIONFS_ASSIGN(const bool possible, is_possible(inode));
  if (!possible || !own_inodes_.test(inode) || inode.value() == ext2::kRootInode) {
    return possible;
  }
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, inode));
  if (below.raw().i_generation.value() != 0) {
    return true;
  }
  UNIONFS_ASSIGN(const InodeRecord own, read_inode(from_.upper, inode));
  if (below.is_directory()) {
    return has_same_child(below, own);
  }
  UNIONFS_ASSIGN(const InodeDifference* found, inodes_.difference(inode, inode, false));
  return !found->is_content || found->has_blocks_of_lower;
}

Result<bool> SameFile::has_same_child(const InodeRecord& below, const InodeRecord& own) {
  UNIONFS_ASSIGN(const std::vector<NamedEntry> now, sorted_entries(from_.upper, own));
  UNIONFS_ASSIGN(const std::vector<NamedEntry> before, sorted_entries(from_.lower, below));
  for (const NamedEntry& entry : now) {
    if (entry.kind == EntryKind::kFallthru) {
      return true;
    }
    const auto child = std::lower_bound(
        before.begin(), before.end(), entry.name,
        [](const NamedEntry& one, const std::string& wanted) { return one.name < wanted; });
    if (entry.kind == EntryKind::kReal && child != before.end() && child->name == entry.name &&
        child->inode == entry.inode) {
      UNIONFS_ASSIGN(const bool same, is_possible(entry.inode));
      if (same) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace unionfs
