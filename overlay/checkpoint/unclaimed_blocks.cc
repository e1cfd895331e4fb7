// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/unclaimed_blocks.h"

#include <cstring>
#include <optional>
#include <set>

#include "fsparse/block_map.h"
#include "overlay/checkpoint/own_xattrs.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// The new count if only the count of an xattr block changed.
Result<std::optional<KeptXattr>> changed_count(const LayerSources& from, BlockNumber block) {
  UNIONFS_ASSIGN(const bool was_xattr, is_xattr_block(from.before, block));
  UNIONFS_ASSIGN(const bool is_xattr, is_xattr_block(from.merged, block));
  if (!was_xattr || !is_xattr) {
    return std::nullopt;
  }
  std::vector<std::byte> before(from.layout().block_size_bytes);
  std::vector<std::byte> now(from.layout().block_size_bytes);
  UNIONFS_TRY(from.before.read_block(block, before));
  UNIONFS_TRY(from.merged.read_block(block, now));
  constexpr size_t kCount = offsetof(ext2::XattrHeader, h_refcount);
  ext2::XattrHeader header;
  std::memcpy(&header, now.data(), sizeof(header));
  std::memcpy(before.data() + kCount, now.data() + kCount, sizeof(Le32));
  if (before != now) {
    return std::nullopt;
  }
  return KeptXattr{block, header.h_refcount};
}

// The groups near the blocks first, then the others.
std::vector<uint32_t> search_order(const LayerSources& from, const std::set<BlockNumber>& blocks) {
  std::set<uint32_t> near;
  for (const BlockNumber block : blocks) {
    near.insert(from.layout().group_of(block).value());
  }
  std::vector<uint32_t> order(near.begin(), near.end());
  for (uint32_t group = 0; group < from.lower.layout().group_count(); ++group) {
    if (!near.contains(group)) {
      order.push_back(group);
    }
  }
  return order;
}

// The fallback that looks through inodes for the owners of `ownerless`; takes out
// the blocks whose owners it finds.  Returns how many inodes it looked at.
Result<uint64_t> search_owners(const LayerSources& from, std::set<BlockNumber>& ownerless,
                               InodeQueue& queue) {
  uint64_t searched = 0;
  const uint32_t per_group = from.layout().inodes_per_group;
  for (const uint32_t group : search_order(from, ownerless)) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    for (uint32_t i = 0; i < per_group && !ownerless.empty(); ++i) {
      const InodeNumber inode(group * per_group + i + 1);
      UNIONFS_ASSIGN(const bool is_used, from.used.is_used(inode));
      if (!is_used || queue.has_seen(inode)) {
        continue;
      }
      ++searched;
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(from.merged, inode));
      const auto xattrs = from.merged.file_block(record.file_acl());
      bool is_owner = xattrs && ownerless.erase(*xattrs) > 0;
      UNIONFS_TRY(walk_block_map(from.merged, record,
                                 [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
                                   is_owner = ownerless.erase(block) > 0 || is_owner;
                                   return WalkStep::kContinue;
                                 }));
      if (is_owner) {
        queue.add(inode);
      }
    }
  }
  return searched;
}

// One block.  False when its owner has to be searched for.
Result<bool> find_owner(const LayerSources& from, BlockNumber block, UnclaimedBlocks& unclaimed,
                        InodeQueue& queue) {
  const TranslatedBlock* old = from.layer.translated(block);
  if (old != nullptr && old->kind != TranslatedKind::kXattrCount &&
      old->kind != TranslatedKind::kXattr) {
    queue.add(old->inode);
    return true;
  }
  if (old == nullptr && from.was_own(block)) {
    return true;  // own data: it lies where it belongs
  }
  UNIONFS_ASSIGN(const std::optional<KeptXattr> count, changed_count(from, block));
  if (count) {
    unclaimed.counts.push_back(*count);
  }
  return count.has_value();
}

}  // namespace

Result<UnclaimedBlocks> find_unclaimed(const LayerSources& from,
                                       const std::vector<BlockRange>& written_data,
                                       const BlockSet& claimed, InodeQueue& queue) {
  UnclaimedBlocks unclaimed;
  std::set<BlockNumber> ownerless;
  for (const BlockRange& range : written_data) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
      UNIONFS_ASSIGN(const bool is_used, from.used.is_used(block));
      if (!is_used || claimed.test(block)) {
        continue;
      }
      UNIONFS_ASSIGN(const bool is_changed, from.is_changed(block));
      if (!is_changed) {
        continue;
      }
      UNIONFS_ASSIGN(const bool has_owner, find_owner(from, block, unclaimed, queue));
      if (!has_owner) {
        ownerless.insert(block);
      }
    }
  }
  if (!ownerless.empty()) {
    UNIONFS_ASSIGN(unclaimed.inodes_searched, search_owners(from, ownerless, queue));
  }
  if (!ownerless.empty()) {
    return corrupt("{}: block {} is marked used and was written, but no file has it", kMergedImage,
                   *ownerless.begin());
  }
  return unclaimed;
}

}  // namespace unionfs
