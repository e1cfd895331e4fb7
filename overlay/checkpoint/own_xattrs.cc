// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/own_xattrs.h"

#include <algorithm>
#include <cstring>

#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// check_pointer() wants the level of a block of the file; an xattr block has none.
constexpr Level kNoLevel = 0;

Result<BlockNumber> check_xattr_block(const LayerSources& from, InodeNumber inode,
                                      ClaimedBlock claimed, const BlockClaims& claims) {
  UNIONFS_ASSIGN(const BlockNumber block, check_pointer(from.merged, inode, kNoLevel, claimed));
  UNIONFS_ASSIGN(const bool is_used, from.used.is_used(block));
  if (!is_used) {
    return corrupt("{}: inode {}: xattr block {} is marked free", kMergedImage, inode, block);
  }
  UNIONFS_ASSIGN(const bool is_xattr, is_xattr_block(from.merged, block));
  if (!is_xattr) {
    return corrupt("{}: inode {}: block {} is not an xattr block", kMergedImage, inode, block);
  }
  if (claims.now.test(block) && !claims.xattrs.contains(block)) {
    return corrupt("{}: inode {}: xattr block {} is used twice", kMergedImage, inode, block);
  }
  return block;
}

// The number of own inodes that referred to the block in the old layer.
Result<int64_t> former_uses(const LayerSources& from, BlockNumber block) {
  const TranslatedBlock* old = from.layer.translated(block);
  if (old == nullptr || old->kind != TranslatedKind::kXattr) {
    return int64_t{0};
  }
  UNIONFS_ASSIGN(const auto former,
                 read_structure<ext2::XattrHeader>(from.upper.image(), from.offset_of(block)));
  return int64_t{former.h_refcount};
}

}  // namespace

Result<void> own_xattr_block(const LayerSources& from, const InodeRecord& record, LayerSets& sets,
                             BlockClaims& claims, XattrUses& uses) {
  const InodeNumber inode = record.number();
  if (record.file_acl().is_none()) {
    return {};
  }
  UNIONFS_ASSIGN(const BlockNumber block,
                 check_xattr_block(from, inode, record.file_acl(), claims));
  claims.now.set(block);
  claims.xattrs.insert(block);
  ++uses[block];
  sets.own_blocks.set(block);
  TranslatedBlock& entry = sets.translated[block];
  const bool has_owner = entry.kind == TranslatedKind::kXattr && entry.inode.value() != 0;
  entry = {block, has_owner ? std::min(entry.inode, inode) : inode, 0, TranslatedKind::kXattr, 0};
  UNIONFS_ASSIGN(const bool used_below, from.used_below.is_used(block));
  if (used_below) {
    UNIONFS_ASSIGN(const bool was_xattr, is_xattr_block(from.lower, block));
    if (!was_xattr) {
      sets.block_whiteouts.set(block);
    }
  }
  return {};
}

Result<void> settle_xattrs(const LayerSources& from, const XattrUses& uses, LayerSets& sets,
                           StagedFile& stage) {
  for (const auto& [block, change] : uses) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    UNIONFS_ASSIGN(const int64_t former, former_uses(from, block));
    UNIONFS_ASSIGN(const bool is_used, from.used.is_used(block));
    const auto entry = sets.translated.find(block);
    const bool is_xattr =
        entry != sets.translated.end() && entry->second.kind == TranslatedKind::kXattr;
    if (!is_used || !is_xattr) {
      continue;  // freed, or another inode's block by now
    }
    std::vector<std::byte> bytes(from.layout().block_size_bytes);
    UNIONFS_TRY(from.merged.read_block(block, bytes));
    ext2::XattrHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    sets.kept_xattrs[block] = {block, header.h_refcount};
    const int64_t count = former + change;
    if (count <= 0) {
      sets.own_blocks.clear(block);
      entry->second.kind = TranslatedKind::kXattrCount;
      continue;
    }
    header.h_refcount = static_cast<uint32_t>(count);
    std::memcpy(bytes.data(), &header, sizeof(header));
    UNIONFS_TRY(stage.write(from.offset_of(block), bytes));
  }
  return {};
}

Result<bool> is_xattr_block(const Volume& volume, BlockNumber block) {
  UNIONFS_ASSIGN(const auto header, read_structure<ext2::XattrHeader>(
                                        volume.image(), volume.layout().offset_of(block)));
  return header.h_magic == ext2::kXattrMagic && header.h_blocks == 1;
}

}  // namespace unionfs
