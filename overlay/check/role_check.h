// SPDX-License-Identifier: BSD-3-Clause
//
// The sixth stage of a check: rule I1 of docs/format.md.  A block that the lower uses, and
// that the merged image does not have in the same role, is whited out.
#ifndef UNIONFS_OVERLAY_CHECK_ROLE_CHECK_H
#define UNIONFS_OVERLAY_CHECK_ROLE_CHECK_H

#include <set>

#include "overlay/check/inode_check.h"

namespace unionfs {

// Gives the blocks that are not whited out, but should be.  Only inodes that are own or
// whited out can have taken a role from a block, so only these are walked; all inodes of
// the lower are gone through when something is found, because a damaged lower may give the
// block to a second file.
Result<std::set<BlockNumber>> check_roles(const CheckSources& sources, const LayerNumbers& numbers,
                                          const OwnFiles& files, LowerSide& lower,
                                          Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_ROLE_CHECK_H
