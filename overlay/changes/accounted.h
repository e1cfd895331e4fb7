// SPDX-License-Identifier: BSD-3-Clause
//
// Whether a plan accounts for all that a layer has: the second part of check_planned().
#ifndef UNIONFS_OVERLAY_CHANGES_ACCOUNTED_H
#define UNIONFS_OVERLAY_CHANGES_ACCOUNTED_H

#include "overlay/changes/planned_inodes.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// All of it was found by the first part.
struct AccountedSources {
  const Plan& plan;
  const PlannedTree& tree;
  const PlannedInodes& found;
  const LayerOverLower& layer;
  const Volume& merged;
};

// See check_planned().  kCorrupt says what is not accounted for.
Result<void> check_accounted(const AccountedSources& sources);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_ACCOUNTED_H
