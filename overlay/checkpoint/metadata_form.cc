// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/metadata_form.h"

#include <array>

#include "overlay/host/cancellation.h"
#include "overlay/upper/layer_groups.h"
#include "overlay/upper/state_area.h"

namespace unionfs {
namespace {

uint64_t descriptor_offset(const LayerSources& from, GroupNumber group) {
  const uint32_t per_block = from.layout().descriptors_per_block();
  return from.offset_of(from.layout().primary_descriptor_block(group.value() / per_block)) +
         uint64_t{group.value() % per_block} * sizeof(ext2::GroupDescriptor);
}

Result<void> form_group(const LayerSources& from, const LayerSets& sets, const DescriptorForm& form,
                        GroupNumber group, int64_t directory_change, StagedFile& stage) {
  LayerBitmaps made =
      make_layer_bitmaps(from.geometry, group, sets.own_blocks.bits(), sets.own_inodes.bits());
  const uint64_t offset = descriptor_offset(from, group);
  UNIONFS_ASSIGN(auto raw, read_structure<ext2::GroupDescriptor>(stage, offset));
  raw.bg_free_blocks_count = made.descriptor.bg_free_blocks_count;
  raw.bg_free_inodes_count = made.descriptor.bg_free_inodes_count;
  raw.bg_used_dirs_count = static_cast<uint16_t>(raw.bg_used_dirs_count + directory_change);
  form.finish(group, raw);
  const auto needed = DescriptorForm::needed_bitmaps(raw, &from.upper.group(group));
  UNIONFS_TRY(write_layer_bitmaps(stage, from.geometry, group, std::move(made), needed));
  return stage.write(offset, std::as_bytes(std::span(&raw, 1)));
}

// With another UUID every checksum is another.  A wrong one stays wrong, because nobody
// believes the flags beside it.
Result<void> form_checksum(const LayerSources& from, const GroupChecksum& now, GroupNumber group,
                           StagedFile& stage) {
  const GroupChecksum before(from.upper.superblock().raw().s_uuid);
  const uint64_t offset = descriptor_offset(from, group);
  UNIONFS_ASSIGN(auto raw, read_structure<ext2::GroupDescriptor>(stage, offset));
  if (raw.bg_checksum != before.of(group, raw)) {
    return {};
  }
  raw.bg_checksum = now.of(group, raw);
  return stage.write(offset, std::as_bytes(std::span(&raw, 1)));
}

// The layer's descriptors have checksums, or have none, for as long as the
// upper is not grown.
uint32_t own_ro_compat(const LayerSources& from) {
  return from.upper.superblock().raw().s_feature_ro_compat & ext2::kRoCompatGdtCsum;
}

}  // namespace

Result<void> form_groups(const LayerSources& from, const Ownership& own, StagedFile& stage) {
  const LayerSets& sets = own.sets;
  ext2::Superblock superblock = from.upper.superblock().raw();
  const bool has_other_uuid = superblock.s_uuid != from.merged.superblock().raw().s_uuid;
  superblock.s_uuid = from.merged.superblock().raw().s_uuid;
  const DescriptorForm form(from.geometry, superblock);
  for (uint32_t number = 0; number < from.layout().group_count(); ++number) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    const GroupNumber group(number);
    const auto found = own.directory_changes.find(group);
    const int64_t change = found == own.directory_changes.end() ? 0 : found->second;
    if (change != 0 || !same_bits(sets.own_blocks.bits(), from.layer.own_blocks(), group) ||
        !same_bits(sets.own_inodes.bits(), from.layer.own_inodes(), group)) {
      UNIONFS_TRY(form_group(from, sets, form, group, change, stage));
    } else if (has_other_uuid && has_group_checksums(superblock)) {
      UNIONFS_TRY(form_checksum(from, GroupChecksum(superblock.s_uuid), group, stage));
    }
  }
  return {};
}

Result<bool> form_boot_area(const LayerSources& from, StagedFile& stage) {
  std::array<std::byte, ext2::kSuperblockOffsetBytes> now;
  std::array<std::byte, ext2::kSuperblockOffsetBytes> before;
  UNIONFS_TRY(from.merged.image().read(0, now));
  UNIONFS_TRY(from.before.image().read(0, before));
  if (now == before) {
    return from.layer.tables().boot_own;
  }
  UNIONFS_TRY(stage.write(0, now));
  return true;
}

Result<void> form_superblock(const LayerSources& from, const MergedFeatures& features,
                             StagedFile& stage) {
  const ext2::Superblock& old = from.upper.superblock().raw();
  ext2::Superblock formed = from.merged.superblock().raw();
  formed.s_rev_level = old.s_rev_level;
  formed.s_first_ino = old.s_first_ino;
  formed.s_inode_size = old.s_inode_size;
  formed.s_block_group_nr = old.s_block_group_nr;
  formed.s_feature_compat = features.compat & ~ext2::kCompatResizeInode;
  formed.s_feature_incompat = features.incompat | ext2::kIncompatFiletype | ext2::kIncompatWhiteout;
  formed.s_feature_ro_compat = features.ro_compat | own_ro_compat(from);
  formed.s_reserved_gdt_blocks = old.s_reserved_gdt_blocks;
  formed.s_first_meta_bg = old.s_first_meta_bg;
  formed.s_overhead_clusters = old.s_overhead_clusters;
  formed.s_jnl_blocks = old.s_jnl_blocks;  // the mark
  renew_mark(formed);
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  for (uint32_t number = 0; number < from.layout().group_count(); ++number) {
    UNIONFS_ASSIGN(const auto raw, read_structure<ext2::GroupDescriptor>(
                                       stage, descriptor_offset(from, GroupNumber(number))));
    free_blocks += raw.bg_free_blocks_count;
    free_inodes += raw.bg_free_inodes_count;
  }
  formed.s_free_blocks_count = static_cast<uint32_t>(free_blocks);
  formed.s_free_inodes_count = static_cast<uint32_t>(free_inodes);
  return stage.write(ext2::kSuperblockOffsetBytes, std::as_bytes(std::span(&formed, 1)));
}

}  // namespace unionfs
