// SPDX-License-Identifier: BSD-3-Clause
//
// The three-way comparison of a rebase: old lower (base), old merged image (ours) and new
// lower (theirs) give a plan for the new lower, conflicts, and notes.  docs/rebase.md has the
// rules, row by row.
#ifndef UNIONFS_OVERLAY_REBASE_THREE_WAY_H
#define UNIONFS_OVERLAY_REBASE_THREE_WAY_H

#include "overlay/changes/plan.h"
#include "overlay/merged/layer_over_lower.h"
#include "overlay/rebase/policy.h"
#include "overlay/rebase/report.h"

namespace unionfs {

// All of it outlives the plan, and stays as it is meanwhile.
struct RebaseSources {
  const LayerOverLower& layer;  // over the old lower
  const Volume& ours;           // what it shows
  const Volume& theirs;         // the new lower
};

struct PlannedRebase {
  Plan plan;  // what `policy` makes of it; of no use while the report has undecided conflicts
  RebaseReport report;
};

// kUnsupported where the layer has a reserved inode of its own: a journal of one image, or what
// resize2fs keeps, means nothing in another.
Result<void> check_reserved_inodes(const Volume& upper, const LayerTables& tables);

// Reads what the layer changes, and its counterparts in the lowers; changes nothing.  The cost
// follows the layer.  Errors are those of reading.
Result<PlannedRebase> plan_rebase(const RebaseSources& sources, const RebasePolicy& policy);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_THREE_WAY_H
