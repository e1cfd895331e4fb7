// SPDX-License-Identifier: BSD-3-Clause
//
// The third stage of a check: whether the layer's bitmaps, directory counts,
// table of translated blocks and xattr counts say what the walk over its
// inodes found.
#ifndef UNIONFS_OVERLAY_CHECK_CLAIM_CHECK_H
#define UNIONFS_OVERLAY_CHECK_CLAIM_CHECK_H

#include "overlay/check/inode_check.h"

namespace unionfs {

Result<void> check_claims(const CheckSources& sources, const LayerNumbers& numbers,
                          const OwnFiles& files, Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_CLAIM_CHECK_H
