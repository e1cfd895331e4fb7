// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/unclaimed_blocks.h"

#include <cstring>
#include <optional>

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

// Blocks whose owners are searched for; one bit a block, because they may be many.
class OwnerlessBlocks {
 public:
  explicit OwnerlessBlocks(const Layout& layout) : blocks_(layout) {}

  bool is_empty() const { return count_ == 0; }
  void add(BlockNumber block) {
    count_ += blocks_.test(block) ? 0 : 1;
    blocks_.set(block);
  }
  // Takes the block out if it is there.
  bool take(BlockNumber block) {
    if (!blocks_.test(block)) {
      return false;
    }
    blocks_.clear(block);
    --count_;
    return true;
  }
  bool is_in(GroupNumber group) const {
    const ConstByteSpan bits = blocks_.bits().of(group);
    return find_set_bit(bits, 0, bits.size() * 8) < bits.size() * 8;
  }
  BlockNumber first() const { return blocks_.first(); }

 private:
  BlockSet blocks_;
  uint64_t count_ = 0;
};

// The groups of the blocks first, then the others.
std::vector<uint32_t> search_order(const LayerSources& from, const OwnerlessBlocks& blocks) {
  std::vector<uint32_t> order;
  for (uint32_t group = 0; group < from.layout().group_count(); ++group) {
    if (blocks.is_in(GroupNumber(group))) {
      order.push_back(group);
    }
  }
  for (uint32_t group = 0; group < from.lower.layout().group_count(); ++group) {
    if (!blocks.is_in(GroupNumber(group))) {
      order.push_back(group);
    }
  }
  return order;
}

// Queues the inode if some of the blocks are its own, and takes these out.  Returns whether
// it had to be looked at.
Result<bool> search_inode(const LayerSources& from, InodeNumber inode, OwnerlessBlocks& ownerless,
                          InodeQueue& queue) {
  UNIONFS_ASSIGN(const bool is_used, from.used.is_used(inode));
  if (!is_used || queue.has_seen(inode)) {
    return false;
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(from.merged, inode));
  const auto xattrs = from.merged.file_block(record.file_acl());
  bool is_owner = xattrs && ownerless.take(*xattrs);
  UNIONFS_TRY(
      walk_block_map(from.merged, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
        is_owner = ownerless.take(block) || is_owner;
        return WalkStep::kContinue;
      }));
  if (is_owner) {
    queue.add(inode);
  }
  return true;
}

// The fallback that looks through inodes for the owners of `ownerless`; takes out
// the blocks whose owners it finds.  Returns how many inodes it looked at, apart from those
// that the hints name.
Result<uint64_t> search_owners(const LayerSources& from, OwnerlessBlocks& ownerless,
                               InodeQueue& queue) {
  for (const InodeNumber inode : from.hints.inodes) {
    if (inode.value() != 0 && !ownerless.is_empty()) {
      UNIONFS_TRY(search_inode(from, inode, ownerless, queue));
    }
  }
  uint64_t searched = 0;
  const uint32_t per_group = from.layout().inodes_per_group;
  for (const uint32_t group : search_order(from, ownerless)) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    for (uint32_t i = 0; i < per_group && !ownerless.is_empty(); ++i) {
      const InodeNumber inode(group * per_group + i + 1);
      UNIONFS_ASSIGN(const bool is_new, search_inode(from, inode, ownerless, queue));
      searched += is_new ? 1 : 0;
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

Result<UnclaimedBlocks> find_unclaimed(const LayerSources& from, const SessionChanges& changes,
                                       const BlockSet& claimed, InodeQueue& queue) {
  UnclaimedBlocks unclaimed;
  OwnerlessBlocks ownerless(from.layout());
  UNIONFS_TRY(changes.used_anew.for_each([&](BlockNumber block) -> Result<void> {
    if (!claimed.test(block)) {
      ownerless.add(block);
    }
    return {};
  }));
  for (const BlockRange& range : changes.written.data) {
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
        ownerless.add(block);
      }
    }
  }
  if (!ownerless.is_empty()) {
    UNIONFS_ASSIGN(unclaimed.inodes_searched, search_owners(from, ownerless, queue));
  }
  if (!ownerless.is_empty()) {
    return corrupt("{}: block {} is marked used and was changed, but no file has it", kMergedImage,
                   ownerless.first());
  }
  return unclaimed;
}

}  // namespace unionfs
