// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/import/import_tree.h"

#include <algorithm>

#include "overlay/host/cancellation.h"
#include "overlay/rebase/limits.h"

namespace unionfs {
namespace {

constexpr size_t kMostLimitsTold = 5;

Failure exceeds(const std::vector<Conflict>& limits) {
  std::string text;
  for (size_t i = 0; i < std::min(limits.size(), kMostLimitsTold); ++i) {
    text += text.empty() ? "" : "; ";
    text += limits[i].path.empty()
                ? limits[i].text
                : fmt::format("{}: {}", quoted_name(limits[i].path), limits[i].text);
  }
  const size_t more = limits.size() - std::min(limits.size(), kMostLimitsTold);
  return unsupported("the merged image cannot hold it: {}{}", text,
                     more == 0 ? "" : fmt::format("; and {} more", more));
}

// Grows the default size while something does not fit that a larger image could hold.
Result<Geometry> choose_import_geometry(const Plan& plan, const Below& below,
                                        const std::optional<uint64_t>& wanted) {
  const Volume& lower = below.volume();
  uint64_t size = wanted.value_or(below.default_merged_size());
  std::vector<Conflict> before;
  while (true) {
    Result<Geometry> grown = Geometry::grow(lower, size);
    if (!grown) {
      return before.empty() ? Failure(grown.error()) : exceeds(before);
    }
    UNIONFS_ASSIGN(FoundLimits found, find_limits(plan, lower, *grown));
    if (found.conflicts.empty()) {
      return grown;
    }
    const bool helps = before.empty() || found.conflicts.size() < before.size() ||
                       found.conflicts.front().text != before.front().text;
    if (wanted || !helps) {
      return exceeds(found.conflicts);
    }
    before = std::move(found.conflicts);
    size = size / 2 * 3;
  }
}

uint32_t time_of_import(const FileTree& tree, const Volume& lower) {
  int64_t latest = lower.superblock().raw().s_wtime.value();
  for (TreeFileId id = 0; id < tree.file_count(); ++id) {
    latest = std::max(latest, tree.file(id).state.modified.seconds);
  }
  return static_cast<uint32_t>(std::clamp<int64_t>(latest, 1, INT32_MAX));
}

}  // namespace

Result<TreeImportOutcome> import_tree(const FileTree& tree, const Below& below,
                                      WritableFile& target, const TreeImportOptions& options,
                                      const std::string& boot_id, const LogSink& log,
                                      const LogSink& progress,
                                      const std::atomic<bool>& is_cancelled) {
  UNIONFS_ASSIGN(const PlannedImport planned, plan_import(tree, below.volume(), options.rules));
  UNIONFS_TRY(check_not_cancelled(is_cancelled));
  UNIONFS_ASSIGN(const Geometry geometry,
                 choose_import_geometry(planned.plan, below, options.size_bytes));
  TreeImportOutcome outcome;
  outcome.figures = planned.figures;
  outcome.merged_bytes = geometry.size_bytes();
  UNIONFS_ASSIGN(outcome.layer,
                 make_planned_layer(planned.plan, target,
                                    {below, geometry, time_of_import(tree, below.volume()), boot_id,
                                     log, progress, is_cancelled}));
  UNIONFS_TRY(target.sync());
  return outcome;
}

}  // namespace unionfs
