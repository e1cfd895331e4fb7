// SPDX-License-Identifier: BSD-3-Clause
//
// What the state area says without the layer's inodes: flags,
// which need nothing else, and whiteouts, the fifth stage of a check.
#ifndef UNIONFS_OVERLAY_CHECK_TABLE_CHECK_H
#define UNIONFS_OVERLAY_CHECK_TABLE_CHECK_H

#include <set>

#include "overlay/check/group_check.h"
#include "overlay/check/lower_side.h"

namespace unionfs {

void check_state_area(const CheckSources& sources, Violations& violations);

// Gives the blocks of the lower that should be whited out, but are not: those that the
// geometry released.
Result<std::set<BlockNumber>> check_whiteouts(const CheckSources& sources,
                                              const LayerNumbers& numbers, LowerSide& lower,
                                              Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_TABLE_CHECK_H
