// SPDX-License-Identifier: BSD-3-Clause
//
// Which blocks an own inode owns.  The merged tree of a changed inode and its
// lower tree are walked side by side: a used block falls through iff it is the
// lower's, in the lower's role, and nothing was ever written to it.
#include <algorithm>
#include <array>
#include <cstring>

#include "overlay/checkpoint/layer_builder.h"
#include "overlay/checkpoint/proof.h"

namespace unionfs {
namespace {

bool is_plain(const InodeRecord& record) {
  return !record.is_directory() && !record.is_symlink();
}

// The role an xattr block would have; only tells blocks of the file apart.
constexpr Level kNoLevel = 0;

}  // namespace

// Makes an inode the layer's own, or forms it anew if it was already.
Result<void> LayerBuilder::own_inode(InodeNumber inode) {
  if (inode.value() < merged_layout_.first_inode && inode.value() != ext2::kRootInode &&
      inode.value() != ext2::kBadBlocksInode) {
    return unsupported("reserved inode {} was changed", inode);
  }
  UNIONFS_ASSIGN(InodeRecord record, read_inode(from_.merged, inode));
  UNIONFS_TRY(walk_former(inode));
  const bool was = was_own(inode);
  own_inodes_.set(inode);
  figures_.own_inodes_added += was ? 0 : 1;
  bool was_directory = false;
  if (was) {
    UNIONFS_ASSIGN(const InodeRecord former, read_inode(from_.upper, inode));
    was_directory = former.is_directory();
  }
  directory_changes_[merged_layout_.group_of(inode).value()] +=
      (record.is_directory() ? 1 : 0) - (was_directory ? 1 : 0);

  TreeWalk walk{inode, TranslatedKind::kDirectory, is_plain(record), false, 0};
  if (record.is_symlink()) {
    walk.data_kind = TranslatedKind::kSymlink;
  }
  std::array<BlockNumber, ext2::kBlockSlots> below = {};
  UNIONFS_ASSIGN(const bool is_below, used_below_.is_used(inode));
  if (is_below && !inode_whiteouts_.test(inode)) {
    UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from_.lower, inode));
    if (lower.type() == record.type() && lower.has_block_map()) {
      walk.can_fall_through = record.is_regular();
      for (uint32_t slot = 0; slot < below.size(); ++slot) {
        below[slot] = lower.pointer(slot);
      }
    }
  }
  Form form{std::move(record), {}, 0};
  for (uint32_t slot = 0; slot < ext2::kBlockSlots; ++slot) {
    const BlockNumber block = form.record.pointer(slot);
    form.pointers[slot] = static_cast<uint32_t>(block.value());
    if (!form.record.has_block_map() || block.value() == 0) {
      continue;  // the pointers of others are a device number or a symlink's target
    }
    const BlockRole role = role_of_slot(merged_layout_.pointers_per_block(), slot);
    UNIONFS_ASSIGN(const bool own, visit(walk, role, block, below[slot]));
    if (!own) {
      form.pointers[slot] = 0;
    }
  }
  form.own_blocks = walk.own_blocks;
  UNIONFS_TRY(own_xattrs(form, was));
  if (form.record.file_acl().value() != 0) {
    ++form.own_blocks;
  }
  if (form.record.is_directory()) {
    directories_.insert(inode);
    unscanned_.push_back(inode);
  }
  forms_.emplace(inode, std::move(form));
  return {};
}

// The blocks an inode had: those it may keep or others may take over.
Result<void> LayerBuilder::walk_former(InodeNumber inode) {
  UNIONFS_ASSIGN(const bool was_used, used_before_.is_used(inode));
  if (!was_used) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord former, read_inode(from_.before, inode));
  if (former.file_acl().value() != 0) {
    former_.set(former.file_acl());
  }
  return walk_block_map(from_.before, former,
                        [this](BlockRole, BlockNumber block) -> Result<WalkStep> {
                          former_.set(block);
                          return WalkStep::kContinue;
                        });
}

Result<void> LayerBuilder::claim(InodeNumber inode, BlockNumber block) {
  UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
  if (claimed_.test(block)) {
    return corrupt("{}: inode {}: block {} is used twice", image(), inode, block);
  }
  UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
  if (!is_used) {
    return corrupt("{}: inode {}: block {} is marked free", image(), inode, block);
  }
  claimed_.set(block);
  return {};
}

Result<bool> LayerBuilder::falls_through(const TreeWalk& walk, BlockNumber block,
                                         BlockNumber below) {
  if (!walk.can_fall_through || block != below || old_own_blocks_.test(block) ||
      block_whiteouts_.test(block)) {
    return false;
  }
  UNIONFS_ASSIGN(const bool used_below, used_below_.is_used(block));
  if (!used_below) {
    return false;
  }
  UNIONFS_ASSIGN(const bool is_written, differs(block));
  return !is_written;
}

// Visits one block of the merged tree and what is below it; `below` is what the
// lower has in the same role, 0 for nothing.  Returns whether it is own.
Result<bool> LayerBuilder::visit(TreeWalk& walk, BlockRole role, BlockNumber block,
                                 BlockNumber below) {
  UNIONFS_TRY(check_pointer(from_.merged, walk.inode, role.level, block));
  UNIONFS_TRY(claim(walk.inode, block));
  std::vector<BlockNumber> pointers;
  bool owns_below = false;
  if (role.level > 0) {
    UNIONFS_ASSIGN(pointers, read_pointers(from_.merged, block));
    std::vector<BlockNumber> lower_pointers(pointers.size());
    if (below.value() != 0 && from_.lower.is_inside(below)) {
      UNIONFS_ASSIGN(lower_pointers, read_pointers(from_.lower, below));
    }
    const uint32_t per_block = merged_layout_.pointers_per_block();
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      if (pointers[i].value() == 0) {
        continue;
      }
      UNIONFS_ASSIGN(const bool own, visit(walk, role_of_child(per_block, role, i), pointers[i],
                                           lower_pointers[i]));
      owns_below = owns_below || own;
      if (!own) {
        pointers[i] = BlockNumber(0);
      }
    }
  }
  UNIONFS_ASSIGN(const bool falls, falls_through(walk, block, below));
  UNIONFS_ASSIGN(const bool used_below, used_below_.is_used(block));
  if (used_below && block != below) {
    block_whiteouts_.set(block);  // claimed in another role than the lower's
  }
  if (falls && !owns_below) {
    own_blocks_.clear(block);
    translated_.erase(block);
    return false;
  }
  own_blocks_.set(block);
  ++walk.own_blocks;
  const auto first = static_cast<uint32_t>(role.first.value());
  if (role.level > 0) {
    translated_[block] = {block, walk.inode, first, TranslatedKind::kIndirect,
                          static_cast<uint8_t>(role.level)};
    std::vector<Le32> raw(pointers.size());
    std::transform(pointers.begin(), pointers.end(), raw.begin(), [](BlockNumber pointer) {
      return Le32(static_cast<uint32_t>(pointer.value()));
    });
    UNIONFS_TRY(stage_block(block, std::as_bytes(std::span(raw))));
  } else if (walk.is_plain_data) {
    UNIONFS_TRY(own_data(block));
  } else {
    translated_[block] = {block, walk.inode, first, walk.data_kind, 0};
    std::array<std::byte, ext2::kMaxBlockSizeBytes> bytes;
    const ByteSpan content = ByteSpan(bytes).first(merged_layout_.block_size_bytes);
    UNIONFS_TRY(from_.merged.read_block(block, content));
    UNIONFS_TRY(stage_block(block, content));  // a directory's is formed later
  }
  return true;
}

// Own data lies at the same offset of the upper; only what never lay there has
// to be brought.
Result<void> LayerBuilder::own_data(BlockNumber block) {
  translated_.erase(block);
  const bool was_translated = from_.layer.translated(block) != nullptr;
  if (!was_translated && (from_.bitmap.test(block) || old_own_blocks_.test(block))) {
    return {};
  }
  std::array<std::byte, ext2::kMaxBlockSizeBytes> bytes;
  const ByteSpan content = ByteSpan(bytes).first(merged_layout_.block_size_bytes);
  UNIONFS_TRY(from_.merged.read_block(block, content));
  return stage_block(block, content);
}

// ---- xattr blocks ----------------------------------------------------------

// An xattr block may be shared: it is own while any own inode refers to it.
Result<void> LayerBuilder::own_xattrs(const Form& form, bool was_own) {
  const InodeNumber inode = form.record.number();
  if (was_own) {
    UNIONFS_ASSIGN(const InodeRecord former, read_inode(from_.upper, inode));
    if (former.file_acl().value() != 0) {
      --xattr_uses_[former.file_acl()];
    }
  }
  const BlockNumber block = form.record.file_acl();
  if (block.value() == 0) {
    return {};
  }
  UNIONFS_TRY(check_pointer(from_.merged, inode, kNoLevel, block));
  UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
  if (!is_used) {
    return corrupt("{}: inode {}: xattr block {} is marked free", image(), inode, block);
  }
  UNIONFS_ASSIGN(const bool is_xattr, is_xattr_block(from_.merged, block));
  if (!is_xattr) {
    return corrupt("{}: inode {}: block {} is not an xattr block", image(), inode, block);
  }
  if (claimed_.test(block) && !claimed_xattrs_.contains(block)) {
    return corrupt("{}: inode {}: xattr block {} is used twice", image(), inode, block);
  }
  claimed_.set(block);
  claimed_xattrs_.insert(block);
  ++xattr_uses_[block];
  own_blocks_.set(block);
  TranslatedBlock& entry = translated_[block];
  const bool has_owner = entry.kind == TranslatedKind::kXattr && entry.inode.value() != 0;
  entry = {block, has_owner ? std::min(entry.inode, inode) : inode, 0, TranslatedKind::kXattr, 0};
  UNIONFS_ASSIGN(const bool used_below, used_below_.is_used(block));
  if (used_below) {
    UNIONFS_ASSIGN(const bool was_xattr, is_xattr_block(from_.lower, block));
    if (!was_xattr) {
      block_whiteouts_.set(block);
    }
  }
  return {};
}

Result<bool> LayerBuilder::is_xattr_block(const Volume& volume, BlockNumber block) const {
  UNIONFS_ASSIGN(const auto header,
                 read_structure<ext2::XattrHeader>(volume.image(), offset_of(block)));
  return header.h_magic == ext2::kXattrMagic && header.h_blocks == 1;
}

// Gives each xattr block the count of its own users in the layer, and keeps the
// merged count beside it.
Result<void> LayerBuilder::settle_xattrs() {
  for (const auto& [block, change] : xattr_uses_) {
    int64_t uses = change;
    const TranslatedBlock* old = from_.layer.translated(block);
    if (old != nullptr && old->kind == TranslatedKind::kXattr) {
      UNIONFS_ASSIGN(const auto former,
                     read_structure<ext2::XattrHeader>(from_.upper.image(), offset_of(block)));
      uses += former.h_refcount;
    }
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
    const auto entry = translated_.find(block);
    const bool is_xattr =
        entry != translated_.end() && entry->second.kind == TranslatedKind::kXattr;
    if (!is_used || !is_xattr) {
      continue;  // freed, or another inode's block by now
    }
    std::vector<std::byte> bytes(merged_layout_.block_size_bytes);
    UNIONFS_TRY(from_.merged.read_block(block, bytes));
    ext2::XattrHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    kept_xattrs_[block] = {block, header.h_refcount};
    if (uses <= 0) {
      own_blocks_.clear(block);
      entry->second.kind = TranslatedKind::kXattrCount;
      continue;
    }
    header.h_refcount = static_cast<uint32_t>(uses);
    std::memcpy(bytes.data(), &header, sizeof(header));
    UNIONFS_TRY(stage_block(block, bytes));
  }
  return {};
}

// ---- blocks changed in place -------------------------------------------------

// Written blocks that no changed inode claims: somebody wrote to a file without
// touching its inode.  Their owners become own.
Result<void> LayerBuilder::own_unclaimed() {
  for (const BlockRange& range : written_data_) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
      if (!is_used || claimed_.test(block)) {
        continue;
      }
      UNIONFS_ASSIGN(const bool is_changed, differs(block));
      if (!is_changed) {
        continue;
      }
      UNIONFS_ASSIGN(const bool has_owner, own_unclaimed_block(block));
      if (!has_owner) {
        ownerless_.insert(block);
      }
    }
  }
  return ownerless_.empty() ? Result<void>() : search_owners();
}

// False when the owner has to be searched for.
Result<bool> LayerBuilder::own_unclaimed_block(BlockNumber block) {
  const TranslatedBlock* old = from_.layer.translated(block);
  if (old != nullptr && old->kind != TranslatedKind::kXattrCount &&
      old->kind != TranslatedKind::kXattr) {
    if (queued_.insert(old->inode).second) {
      queue_.push_back(old->inode);
    }
    return true;
  }
  if (old == nullptr && old_own_blocks_.test(block)) {
    return true;  // own data: it lies where it belongs
  }
  UNIONFS_ASSIGN(const bool was_xattr, is_xattr_block(from_.before, block));
  UNIONFS_ASSIGN(const bool is_xattr, is_xattr_block(from_.merged, block));
  if (!was_xattr || !is_xattr) {
    return false;
  }
  // Only the count may differ: the block is shared, and some user left or came.
  std::vector<std::byte> before(merged_layout_.block_size_bytes);
  std::vector<std::byte> now(merged_layout_.block_size_bytes);
  UNIONFS_TRY(from_.before.read_block(block, before));
  UNIONFS_TRY(from_.merged.read_block(block, now));
  constexpr size_t kCount = offsetof(ext2::XattrHeader, h_refcount);
  ext2::XattrHeader header;
  std::memcpy(&header, now.data(), sizeof(header));
  std::memcpy(before.data() + kCount, now.data() + kCount, sizeof(Le32));
  if (before != now) {
    return false;
  }
  kept_xattrs_[block] = {block, header.h_refcount};
  if (!old_own_blocks_.test(block)) {
    translated_[block] = {block, InodeNumber(ext2::kRootInode), 0, TranslatedKind::kXattrCount, 0};
  }
  return true;
}

// The fallback that looks through inodes of the lower, nearest groups first.
Result<void> LayerBuilder::search_owners() {
  const uint32_t group_count = from_.lower.layout().group_count();
  std::set<uint32_t> near;
  for (const BlockNumber block : ownerless_) {
    near.insert(merged_layout_.group_of(block).value());
  }
  std::vector<uint32_t> order(near.begin(), near.end());
  for (uint32_t group = 0; group < group_count; ++group) {
    if (!near.contains(group)) {
      order.push_back(group);
    }
  }
  for (const uint32_t group : order) {
    UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
    for (uint32_t i = 0; i < merged_layout_.inodes_per_group && !ownerless_.empty(); ++i) {
      const InodeNumber inode(group * merged_layout_.inodes_per_group + i + 1);
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
      if (!is_used || queued_.contains(inode)) {
        continue;
      }
      ++figures_.inodes_searched;
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.merged, inode));
      bool is_owner = ownerless_.erase(record.file_acl()) > 0;
      UNIONFS_TRY(walk_block_map(from_.merged, record,
                                 [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
                                   is_owner = ownerless_.erase(block) > 0 || is_owner;
                                   return WalkStep::kContinue;
                                 }));
      if (is_owner && queued_.insert(inode).second) {
        queue_.push_back(inode);
      }
    }
  }
  if (!ownerless_.empty()) {
    return corrupt("{}: block {} is marked used and was written, but no file has it", image(),
                   *ownerless_.begin());
  }
  return {};
}

// A block that was freed, but not given up by any inode that changed or was
// freed, was nobody's before; or somebody still has it and the bitmap lies, and
// then the layer would take it away.  Rare enough to look through all inodes.
Result<void> LayerBuilder::check_freed() {
  std::set<BlockNumber> kept;
  for (const BlockRange& range : freed_) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      if (!former_.test(block)) {
        kept.insert(block);
      }
    }
  }
  for (uint32_t number = 1; number <= merged_layout_.inode_count() && !kept.empty(); ++number) {
    const InodeNumber inode(number);
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
    if (!is_used || queued_.contains(inode)) {
      continue;
    }
    UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
    ++figures_.inodes_searched;
    const auto check = [&](BlockNumber block) -> Result<void> {
      if (kept.contains(block)) {
        return corrupt("{}: inode {}: block {} is marked free", image(), inode, block);
      }
      return {};
    };
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.merged, inode));
    UNIONFS_TRY(check(record.file_acl()));
    UNIONFS_TRY(
        walk_block_map(from_.merged, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
          UNIONFS_TRY(check(block));
          return WalkStep::kContinue;
        }));
  }
  return {};
}

// A block that some other file had before, and that no changed or freed inode
// gave up, is claimed by two files now.
Result<void> LayerBuilder::check_claims() {
  for (const auto& [inode, form] : forms_) {
    const auto check = [&, number = inode](BlockNumber block) -> Result<void> {
      UNIONFS_ASSIGN(const bool was_used, used_before_.is_used(block));
      if (was_used && !former_.test(block)) {
        return corrupt("{}: inode {}: block {} belongs to another file that did not change",
                       image(), number, block);
      }
      return {};
    };
    UNIONFS_TRY(walk_block_map(from_.merged, form.record,
                               [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
                                 UNIONFS_TRY(check(block));
                                 return WalkStep::kContinue;
                               }));
  }
  return {};
}

}  // namespace unionfs
