// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/check_planned.h"

#include <array>

#include "overlay/changes/accounted.h"
#include "overlay/changes/planned_content.h"
#include "overlay/geometry/number_sets.h"

namespace unionfs {
namespace {

// Reads back what the plan says of each file.
class PlannedFileCheck {
 public:
  PlannedFileCheck(const Plan& plan, const PlannedTree& tree, const PlannedInodes& found,
                   const Volume& merged)
      : plan_(plan), tree_(tree), found_(found), merged_(merged), used_(merged) {}

  Result<void> check(PlannedFileId id);
  uint64_t bytes() const { return bytes_; }

 private:
  Failure differs(PlannedFileId id, std::string_view what) const {
    return corrupt("{}: {}: {} is not as planned", merged_.name(), tree_.describe(plan_, id), what);
  }
  Result<void> check_metadata(PlannedFileId id, const InodeRecord& record) const;
  Result<void> check_content(PlannedFileId id, const InodeRecord& record);

  const Plan& plan_;
  const PlannedTree& tree_;
  const PlannedInodes& found_;
  const Volume& merged_;
  UsedNumbers used_;
  uint64_t bytes_ = 0;
};

Result<void> PlannedFileCheck::check(PlannedFileId id) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged_, found_.inodes[id]));
  UNIONFS_ASSIGN(const bool is_used, used_.is_used(record.number()));
  const FileState& state = plan_.files[id].state;
  if (!is_used || record.type() != state.type()) {
    return differs(id, is_used ? "its type" : "its inode, which is free,");
  }
  if (!state.is_directory() && record.raw().i_links_count != tree_.links[id]) {
    return differs(id, "its number of links");
  }
  UNIONFS_TRY(check_metadata(id, record));
  UNIONFS_ASSIGN(std::vector<Attribute> attributes, read_attributes(merged_, record));
  sort_attributes(attributes);
  if (attributes != state.attributes) {
    return differs(id, "an attribute");
  }
  return check_content(id, record);
}

// Each of these fields is as put_metadata() would leave it.
Result<void> PlannedFileCheck::check_metadata(PlannedFileId id, const InodeRecord& record) const {
  InodeRecord planned = record;
  put_metadata(plan_.files[id].state, planned);
  const ext2::Inode& now = record.raw();
  const ext2::Inode& then = planned.raw();
  if (now.i_mode != then.i_mode) {
    return differs(id, "its mode");
  }
  if (record.user_id() != planned.user_id() || record.group_id() != planned.group_id()) {
    return differs(id, "its owner");
  }
  if (now.i_flags != then.i_flags) {
    return differs(id, "its flags");
  }
  const bool is_deleted = now.i_dtime != 0;
  InodeRecord present = record;
  // A checkpoint takes a mere read for no change.
  forget_access_time(present.bytes());
  forget_access_time(planned.bytes());
  if (!same_bytes(present.bytes(), planned.bytes()) || is_deleted) {
    return differs(id, "one of its times");
  }
  return {};
}

Result<void> PlannedFileCheck::check_content(PlannedFileId id, const InodeRecord& record) {
  if (!plan_.files[id].content) {
    return {};
  }
  UNIONFS_ASSIGN(const FileContent wanted, content_of(plan_.files[id]));
  UNIONFS_ASSIGN(const FileContent present, content_of_inode(merged_, record));
  bool is_same = wanted.target == present.target && wanted.device == present.device;
  bytes_ += present.target.size();
  if (record.is_regular()) {
    UNIONFS_ASSIGN(is_same, have_same_bytes(*wanted.bytes, *present.bytes, bytes_));
  }
  return is_same ? Result<void>() : differs(id, "its content");
}

// A field is as planned, or else as the lower has it.
template <typename Field, typename Planned>
bool is_field(const Field& now, const Field& below, const std::optional<Planned>& planned) {
  if (!planned) {
    return now == below;
  }
  if constexpr (std::is_convertible_v<Field, Planned>) {
    return static_cast<Planned>(now) == *planned;
  } else {
    return std::memcmp(now.data(), planned->data(), planned->size()) == 0;
  }
}

Result<void> check_superblock(const PlannedSuperblock& planned, const Volume& lower,
                              const Volume& merged) {
  const ext2::Superblock& now = merged.superblock().raw();
  const ext2::Superblock& below = lower.superblock().raw();
  const std::array<std::pair<bool, const char*>, 7> fields = {{
      {is_field(now.s_volume_name, below.s_volume_name, planned.volume_name), "volume name"},
      {is_field(now.s_uuid, below.s_uuid, planned.uuid), "UUID"},
      {is_field(now.s_default_mount_opts, below.s_default_mount_opts,
                planned.default_mount_options),
       "default mount options"},
      {!planned.reserved_blocks_count || now.s_r_blocks_count == *planned.reserved_blocks_count,
       "number of reserved blocks"},
      {is_field(now.s_def_resuid, below.s_def_resuid, planned.reserved_user_id),
       "user of the reserved blocks"},
      {is_field(now.s_def_resgid, below.s_def_resgid, planned.reserved_group_id),
       "group of the reserved blocks"},
      {is_field(now.s_errors, below.s_errors, planned.errors), "behaviour at errors"},
  }};
  for (const auto& [is_same, what] : fields) {
    if (!is_same) {
      return corrupt("{}: the {} is not as planned", merged.name(), what);
    }
  }
  std::vector<std::byte> boot(ext2::kSuperblockOffsetBytes);
  UNIONFS_TRY(merged.image().read(0, boot));
  std::vector<std::byte> wanted(boot.size());
  UNIONFS_TRY(lower.image().read(0, wanted));
  if (boot != planned.boot_block.value_or(wanted)) {
    return corrupt("{}: the boot block is not as planned", merged.name());
  }
  return {};
}

}  // namespace

Result<ProofFigures> check_planned(const Plan& plan, const LayerOverLower& layer,
                                   const Volume& merged) {
  const Volume& lower = layer.below().volume();
  UNIONFS_ASSIGN(const PlannedTree tree, plan_tree(plan, lower));
  UNIONFS_ASSIGN(const PlannedInodes found, find_planned(plan, tree, merged));
  PlannedFileCheck files(plan, tree, found, merged);
  for (PlannedFileId id = 0; id < plan.files.size(); ++id) {
    if (!tree.gone.contains(id)) {
      UNIONFS_TRY(files.check(id));
    }
  }
  UNIONFS_TRY(check_superblock(plan.superblock, lower, merged));
  UNIONFS_TRY(check_accounted({plan, tree, found, layer, merged}));
  return ProofFigures{plan.names.size(), files.bytes()};
}

}  // namespace unionfs
