// SPDX-License-Identifier: BSD-3-Clause
//
// The superblock of a layer alone: of a field that differs nobody can tell who has changed it.
#include <algorithm>
#include <cstring>

#include "overlay/rebase/alone_comparison.h"

namespace unionfs {
namespace {

// Whether two images reserve the same share of their blocks, but for what rounding takes.
bool reserve_alike(const Volume& one, const Volume& other) {
  const uint64_t blocks = one.layout().block_count;
  const uint64_t other_blocks = other.layout().block_count;
  const uint64_t share = one.superblock().raw().s_r_blocks_count * other_blocks;
  const uint64_t other_share = other.superblock().raw().s_r_blocks_count * blocks;
  const uint64_t rounding = 2 * std::max(blocks, other_blocks);
  return share <= other_share + rounding && other_share <= share + rounding;
}

Result<std::vector<std::byte>> read_boot_block(const Volume& volume) {
  std::vector<std::byte> bytes(ext2::kSuperblockOffsetBytes);
  UNIONFS_TRY(volume.image().read(0, bytes));
  return bytes;
}

}  // namespace

// All that differs, as if it were ours.
Result<PlannedSuperblock> AloneComparison::different_superblock(std::vector<std::string>& fields) {
  const Volume& theirs_volume = theirs_.volume();
  const ext2::Superblock& ours = layer_.upper().superblock().raw();
  const ext2::Superblock& theirs = theirs_volume.superblock().raw();
  PlannedSuperblock planned;
  const auto take = [&fields](const char* field, const auto& here, const auto& there, auto& value) {
    if (here != there) {
      fields.emplace_back(field);
      value = here;
    }
  };
  take("label", ours.s_volume_name, theirs.s_volume_name, planned.volume_name);
  take("default mount options", ours.s_default_mount_opts.value(),
       theirs.s_default_mount_opts.value(), planned.default_mount_options);
  take("errors", ours.s_errors.value(), theirs.s_errors.value(), planned.errors);
  take("reserved user", ours.s_def_resuid.value(), theirs.s_def_resuid.value(),
       planned.reserved_user_id);
  take("reserved group", ours.s_def_resgid.value(), theirs.s_def_resgid.value(),
       planned.reserved_group_id);
  if (!reserve_alike(layer_.upper(), theirs_volume)) {
    fields.emplace_back("reserved blocks");
    planned.reserved_blocks_count = static_cast<uint32_t>(
        ours.s_r_blocks_count * uint64_t{layer_.upper().layout().block_size_bytes} /
        theirs_volume.layout().block_size_bytes);
  }
  if (layer_.layer().tables().boot_own) {
    UNIONFS_ASSIGN(const std::vector<std::byte> here, read_boot_block(layer_.upper()));
    UNIONFS_ASSIGN(const std::vector<std::byte> there, read_boot_block(theirs_volume));
    take("boot block", here, there, planned.boot_block);
  }
  return planned;
}

Result<void> AloneComparison::settle_superblock() {
  std::vector<std::string> fields;
  UNIONFS_ASSIGN(PlannedSuperblock planned, different_superblock(fields));
  // The upper knows which UUID its lower had.
  const auto& ours = layer_.upper().superblock().raw().s_uuid;
  const auto& theirs = theirs_.volume().superblock().raw().s_uuid;
  const auto& base = layer_.area().lower.identity.uuid;
  const bool is_uuid_ours = ours != base && ours != theirs;
  if (is_uuid_ours && theirs != base) {
    fields.emplace_back("uuid");
  }
  Resolution resolution = Resolution::kOurs;
  if (!fields.empty()) {
    UNIONFS_ASSIGN(resolution,
                   raise({"", std::nullopt, std::nullopt,
                          "of the superblock; which side has changed it cannot be told", fields}));
  }
  const bool takes_ours = resolution == Resolution::kOurs;
  if (is_uuid_ours && (takes_ours || theirs == base)) {
    planned.uuid.emplace();
    std::memcpy(planned.uuid->data(), ours.data(), planned.uuid->size());
  }
  if (takes_ours) {
    builder_.plan().superblock = std::move(planned);
  } else {
    builder_.plan().superblock.uuid = planned.uuid;
  }
  return {};
}

}  // namespace unionfs
