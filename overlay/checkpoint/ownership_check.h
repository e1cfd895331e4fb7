// SPDX-License-Identifier: BSD-3-Clause
//
// What can be said only when nothing more becomes own: whether the session's
// image contradicts itself in a way that the layer could not express.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_OWNERSHIP_CHECK_H
#define UNIONFS_OVERLAY_CHECKPOINT_OWNERSHIP_CHECK_H

#include "overlay/checkpoint/ownership.h"

namespace unionfs {

// An error names the directory that the root does not lead to, or the block that
// two files have or that is free in spite of its file.  Returns how many inodes
// it looked at to know.
Result<uint64_t> check_ownership(const LayerSources& from, const SessionChanges& changes,
                                 const Ownership& own);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_OWNERSHIP_CHECK_H
