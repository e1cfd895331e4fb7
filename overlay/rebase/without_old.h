// SPDX-License-Identifier: BSD-3-Clause
//
// The comparison of a rebase whose old lower is gone: the layer alone and the new lower give
// a plan, and conflicts of class kNeedsOld.  docs/rebase.md has the rules, row by row.
#ifndef UNIONFS_OVERLAY_REBASE_WITHOUT_OLD_H
#define UNIONFS_OVERLAY_REBASE_WITHOUT_OLD_H

#include "overlay/rebase/layer_alone.h"
#include "overlay/rebase/three_way.h"

namespace unionfs {

// Of the policy, trees of ours and owners by name need the old lower: kInvalid.  Changes
// nothing.  The cost follows the layer, and what theirs has below names that the layer has
// deleted.  `layer` outlives the plan.  Other errors are those of reading.
Result<PlannedRebase> plan_without_old(LayerAlone& layer, const RebasePolicy& policy);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_WITHOUT_OLD_H
