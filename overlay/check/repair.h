// SPDX-License-Identifier: BSD-3-Clause
//
// Mends a layer: what can be derived from its inodes and directories.
#ifndef UNIONFS_OVERLAY_CHECK_REPAIR_H
#define UNIONFS_OVERLAY_CHECK_REPAIR_H

#include "overlay/check/layer_facts.h"

namespace unionfs {

// Rebuilds bitmaps, counts and tables from what a check of this upper found,
// and writes all of it or nothing.  `upper` is the file that was opened.  The
// facts must know the blocks of every own inode; no session may be open, and no
// journal may be pending.  Afterwards the upper must be opened anew.
Result<void> repair_upper(const Below& below, const OpenedUpper& opened, const LayerFacts& facts,
                          WritableFile& upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_REPAIR_H
