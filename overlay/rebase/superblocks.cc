// SPDX-License-Identifier: BSD-3-Clause
//
// What tune2fs and e2label change: fields like others.
#include <algorithm>
#include <cstring>

#include "overlay/rebase/comparison.h"

namespace unionfs {
namespace {

// Of two images that may have blocks of different sizes.
uint64_t reserved_bytes(const Volume& volume) {
  return uint64_t{volume.superblock().raw().s_r_blocks_count} * volume.layout().block_size_bytes;
}

// The same, or those of `base` where nobody has changed them: an image that grew or was made
// anew keeps the share of its blocks that is reserved, but for what rounding takes.
uint64_t reserved_bytes(const Volume& volume, const Volume& base) {
  const uint64_t blocks = volume.layout().block_count;
  const uint64_t base_blocks = base.layout().block_count;
  const uint64_t found = volume.superblock().raw().s_r_blocks_count;
  const uint64_t expected =
      uint64_t{base.superblock().raw().s_r_blocks_count} * blocks / base_blocks;
  const uint64_t rounding = 2 * divide_round_up(blocks, base_blocks);
  const bool is_same = found <= expected + rounding && expected <= found + rounding;
  return is_same ? reserved_bytes(base) : reserved_bytes(volume);
}

Result<std::vector<std::byte>> boot_block(const Volume& volume) {
  std::vector<std::byte> bytes(ext2::kSuperblockOffsetBytes);
  UNIONFS_TRY(volume.image().read(0, bytes));
  return bytes;
}

}  // namespace

Result<void> RebaseComparison::settle_superblock() {
  const ext2::Superblock& base = base_.volume().superblock().raw();
  const ext2::Superblock& ours = ours_.volume().superblock().raw();
  const ext2::Superblock& theirs = theirs_.volume().superblock().raw();
  PlannedSuperblock& planned = builder_.plan().superblock;
  std::vector<std::string> both;
  const auto is_ours = [&](const char* field, const auto& before, const auto& here,
                           const auto& there) {
    if (here == before || here == there) {
      return false;
    }
    if (there != before) {
      both.emplace_back(field);
    }
    return true;
  };
  if (is_ours("label", base.s_volume_name, ours.s_volume_name, theirs.s_volume_name)) {
    planned.volume_name = ours.s_volume_name;
  }
  if (is_ours("uuid", base.s_uuid, ours.s_uuid, theirs.s_uuid)) {
    planned.uuid.emplace();
    std::memcpy(planned.uuid->data(), ours.s_uuid.data(), planned.uuid->size());
  }
  if (is_ours("default mount options", base.s_default_mount_opts.value(),
              ours.s_default_mount_opts.value(), theirs.s_default_mount_opts.value())) {
    planned.default_mount_options = ours.s_default_mount_opts.value();
  }
  if (is_ours("errors", base.s_errors.value(), ours.s_errors.value(), theirs.s_errors.value())) {
    planned.errors = ours.s_errors.value();
  }
  if (is_ours("reserved user", base.s_def_resuid.value(), ours.s_def_resuid.value(),
              theirs.s_def_resuid.value())) {
    planned.reserved_user_id = ours.s_def_resuid.value();
  }
  if (is_ours("reserved group", base.s_def_resgid.value(), ours.s_def_resgid.value(),
              theirs.s_def_resgid.value())) {
    planned.reserved_group_id = ours.s_def_resgid.value();
  }
  if (is_ours("reserved blocks", reserved_bytes(base_.volume()),
              reserved_bytes(ours_.volume(), base_.volume()),
              reserved_bytes(theirs_.volume(), base_.volume()))) {
    planned.reserved_blocks_count = static_cast<uint32_t>(
        reserved_bytes(ours_.volume()) / theirs_.volume().layout().block_size_bytes);
  }
  UNIONFS_ASSIGN(const std::vector<std::byte> boot_before, boot_block(base_.volume()));
  UNIONFS_ASSIGN(std::vector<std::byte> boot_here, boot_block(ours_.volume()));
  UNIONFS_ASSIGN(const std::vector<std::byte> boot_there, boot_block(theirs_.volume()));
  if (is_ours("boot block", boot_before, boot_here, boot_there)) {
    planned.boot_block = std::move(boot_here);
  }
  if (both.empty()) {
    return {};
  }
  UNIONFS_ASSIGN(const Resolution resolution,
                 raise({ConflictClass::kMetadata, "", "", {}, both, "of the superblock"}));
  if (resolution != Resolution::kOurs) {
    const auto drop_field = [&both](const char* field, auto& value) {
      if (std::find(both.begin(), both.end(), field) != both.end()) {
        value.reset();
      }
    };
    drop_field("label", planned.volume_name);
    drop_field("uuid", planned.uuid);
    drop_field("default mount options", planned.default_mount_options);
    drop_field("errors", planned.errors);
    drop_field("reserved user", planned.reserved_user_id);
    drop_field("reserved group", planned.reserved_group_id);
    drop_field("reserved blocks", planned.reserved_blocks_count);
    drop_field("boot block", planned.boot_block);
  }
  return {};
}

}  // namespace unionfs
