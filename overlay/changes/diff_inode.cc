// SPDX-License-Identifier: BSD-3-Clause
//
// One inode below and now: its content where the layer owns some, its metadata.
#include <algorithm>
#include <array>
#include <cstring>

#include "fsparse/block_map.h"
#include "fsparse/symlink.h"
#include "fsparse/xattr.h"
#include "overlay/changes/diff_tree.h"

namespace unionfs {
namespace {

std::vector<std::pair<std::string, std::vector<std::byte>>> sorted_attributes(
    std::vector<Attribute> attributes) {
  std::vector<std::pair<std::string, std::vector<std::byte>>> sorted;
  for (Attribute& attribute : attributes) {
    sorted.emplace_back(attribute.full_name(), std::move(attribute.value));
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

}  // namespace

Result<const DiffTree::InodeDifference*> DiffTree::difference(InodeNumber inode) {
  auto [found, is_new] = differences_.try_emplace(inode);
  if (is_new) {
    UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, inode));
    UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, inode));
    UNIONFS_TRY(compare_content(below, now, found->second));
    UNIONFS_TRY(compare_metadata(below, now, found->second));
  }
  return &found->second;
}

Result<void> DiffTree::compare_content(const InodeRecord& below, const InodeRecord& now,
                                       InodeDifference& difference) {
  if (now.is_symlink()) {
    UNIONFS_ASSIGN(const std::string old_target, read_symlink(from_.lower, below));
    UNIONFS_ASSIGN(const std::string new_target, read_symlink(from_.merged, now));
    difference.is_content = old_target != new_target;
  } else if (now.is_device()) {
    difference.is_content =
        below.pointer(0) != now.pointer(0) || below.pointer(1) != now.pointer(1);
  } else if (now.is_regular()) {
    difference.is_content = below.size_bytes() != now.size_bytes();
    UNIONFS_ASSIGN(const InodeRecord own, read_inode(from_.upper, now.number()));
    for (uint32_t slot = 0; slot < ext2::kBlockSlots; ++slot) {
      UNIONFS_TRY(
          compare_blocks(level_of_slot(slot), own.pointer(slot), below.pointer(slot), difference));
    }
  }
  return {};
}

// Data blocks that are whited out at or below this one of the lower.
Result<uint64_t> DiffTree::whited_out_below(Level level, BlockNumber block, uint64_t& visits) {
  if (block.value() == 0 || !from_.lower.is_inside(block) || !block_whiteouts_.test(block)) {
    return uint64_t{0};
  }
  if (++visits > from_.lower.layout().block_count) {
    return corrupt("{}: block {}: is an indirect block of more blocks than there are",
                   from_.lower.name(), block);
  }
  if (level == 0) {
    return uint64_t{1};
  }
  UNIONFS_ASSIGN(const Pointers pointers, read_pointers(from_.lower, block));
  uint64_t count = 0;
  for (const BlockNumber pointer : pointers) {
    UNIONFS_ASSIGN(const uint64_t here, whited_out_below(level - 1, pointer, visits));
    count += here;
  }
  return count;
}

// What the layer and the lower have in one role.  A hole of the layer shows the
// lower's block, unless that is whited out.
Result<void> DiffTree::compare_blocks(Level level, BlockNumber own, BlockNumber below,
                                      InodeDifference& difference) {
  const uint32_t block_size = from_.merged.layout().block_size_bytes;
  if (own.value() == 0) {
    if (below.value() != 0 && from_.lower.is_inside(below) && block_whiteouts_.test(below)) {
      difference.is_content = true;
      uint64_t visits = 0;
      UNIONFS_ASSIGN(const uint64_t gone, whited_out_below(level, below, visits));
      difference.changed_bytes += gone * block_size;
    }
    return {};
  }
  if (level > 0) {
    UNIONFS_TRY(check_pointer(from_.upper, InodeNumber(0), level, own));
    UNIONFS_ASSIGN(const Pointers own_pointers, read_pointers(from_.upper, own));
    Pointers below_pointers(own_pointers.size());
    if (below.value() != 0 && from_.lower.is_inside(below)) {
      UNIONFS_ASSIGN(below_pointers, read_pointers(from_.lower, below));
    }
    for (size_t i = 0; i < own_pointers.size(); ++i) {
      UNIONFS_TRY(compare_blocks(level - 1, own_pointers[i], below_pointers[i], difference));
    }
    return {};
  }
  std::array<std::byte, ext2::kMaxBlockSizeBytes> now = {};
  std::array<std::byte, ext2::kMaxBlockSizeBytes> before = {};
  UNIONFS_TRY(from_.merged.read_block(own, ByteSpan(now).first(block_size)));
  if (below.value() != 0 && from_.lower.is_inside(below)) {
    UNIONFS_TRY(from_.lower.read_block(below, ByteSpan(before).first(block_size)));
  }
  if (now != before) {
    difference.is_content = true;
    difference.changed_bytes += block_size;
  }
  return {};
}

// Access and change times do not count, nor the number of links: a name that
// came or went is a change of its own.
Result<void> DiffTree::compare_metadata(const InodeRecord& below, const InodeRecord& now,
                                        InodeDifference& difference) {
  const auto differs = [&difference](bool is_different, const char* what) {
    if (is_different) {
      difference.metadata.emplace_back(what);
    }
  };
  differs(below.raw().i_mode.value() != now.raw().i_mode.value(), "mode");
  differs(below.user_id() != now.user_id() || below.group_id() != now.group_id(), "owner");
  const auto before_extra = below.extra();
  const auto now_extra = now.extra();
  const bool is_newer = below.raw().i_mtime.value() != now.raw().i_mtime.value() ||
                        (before_extra && now_extra &&
                         before_extra->i_mtime_extra.value() != now_extra->i_mtime_extra.value());
  // Names that came or went give their directory a new time.
  differs(is_newer && !names_changed_[now.number()] && !difference.is_content, "times");
  constexpr uint32_t kOwnFlags = ext2::kFlagIndex | ext2::kFlagOpaque;
  differs(((below.raw().i_flags ^ now.raw().i_flags) & ~kOwnFlags) != 0, "flags");
  UNIONFS_ASSIGN(std::vector<Attribute> old_attributes, read_attributes(from_.lower, below));
  UNIONFS_ASSIGN(std::vector<Attribute> new_attributes, read_attributes(from_.merged, now));
  differs(
      sorted_attributes(std::move(old_attributes)) != sorted_attributes(std::move(new_attributes)),
      "xattrs");
  return {};
}

}  // namespace unionfs
