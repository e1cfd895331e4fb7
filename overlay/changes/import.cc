// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/import.h"

#include <algorithm>

#include "overlay/changes/apply.h"
#include "overlay/upper/layer_create.h"

namespace unionfs {
namespace {

// Tells at most every few seconds how far it is.
class ProgressLine {
 public:
  ProgressLine(const ImportParts& parts) : parts_(parts), last_(parts.clock.now()) {}

  void operator()(uint64_t inodes_done) {
    const Clock::TimePoint now = parts_.clock.now();
    if (parts_.progress && now - last_ >= kInterval) {
      last_ = now;
      parts_.progress(fmt::format("{}: importing: {} of {} files", parts_.tree.name(), inodes_done,
                                  std::max(inodes_done, parts_.tree.used_inode_count())));
    }
  }

 private:
  static constexpr std::chrono::seconds kInterval{3};

  const ImportParts& parts_;
  Clock::TimePoint last_;
};

// The time of what the import itself changes: no file's, so that of the upper.
uint32_t time_of(const ImportParts& parts) {
  return std::max({parts.tree.volume().superblock().raw().s_wtime.value(),
                   parts.below.volume().superblock().raw().s_wtime.value(), uint32_t{1}});
}

Result<void> apply_tree(Disk& disk, const ImportParts& parts) {
  UNIONFS_ASSIGN(const auto files, MergedFiles::open(disk, time_of(parts)));
  TreeApplier applier(parts.tree, *files, ProgressLine(parts));
  UNIONFS_TRY(applier.apply());
  return files->close();
}

}  // namespace

Result<void> import_upper(WritableFile& upper, const ImportParts& parts) {
  UNIONFS_TRY(create_layer(upper, parts.below.volume(), parts.geometry, parts.below.identity()));
  UNIONFS_ASSIGN(const bool is_empty, parts.tree.is_empty());
  if (is_empty) {
    return {};
  }
  UNIONFS_ASSIGN(const auto disk,
                 Disk::load(parts.below, upper, parts.boot_id, parts.log, parts.clock));
  UNIONFS_TRY(disk->attach(Access::kReadWrite));
  Result<void> applied = apply_tree(*disk, parts);
  UNIONFS_TRY(disk->close());
  UNIONFS_TRY(applied);
  const std::atomic<bool> never{false};
  UNIONFS_TRY(disk->checkpoint(AskedBy::kPerson, never));
  return {};
}

}  // namespace unionfs
