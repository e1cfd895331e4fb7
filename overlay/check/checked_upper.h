// SPDX-License-Identifier: BSD-3-Clause
//
// Mending an upper.
#ifndef UNIONFS_OVERLAY_CHECK_CHECKED_UPPER_H
#define UNIONFS_OVERLAY_CHECK_CHECKED_UPPER_H

#include "overlay/check/layer_check.h"
#include "overlay/upper/opened_upper.h"

namespace unionfs {

CheckSources check_sources(const Below& below, const OpenedUpper& opened);

// Rebuilds what can be derived from the layer's inodes and directories, and
// writes it in one piece.  No session may be open.
Result<void> repair_upper(const Below& below, const OpenedUpper& opened, const LayerCheck& found,
                          WritableFile& upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_CHECKED_UPPER_H
