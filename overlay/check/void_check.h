// SPDX-License-Identifier: BSD-3-Clause
//
// What must be true of an upper beside its layer.  A void one has no layer yet, so it says nothing
// of files.
#ifndef UNIONFS_OVERLAY_CHECK_VOID_CHECK_H
#define UNIONFS_OVERLAY_CHECK_VOID_CHECK_H

#include "overlay/check/violations.h"
#include "overlay/upper/opened_upper.h"

namespace unionfs {

// Adds what a void upper owns or whites out that a new upper does not.  An error of the host ends
// the check.
Result<void> check_void(const OpenedUpper& upper, Violations& violations);

// Of any upper: adds a freeze without an id.
void check_freeze_id(const StateArea& area, Violations& violations);

// Of any upper: adds the bits of its session bitmap in `section` that stand for blocks past the
// end of the merged image.  `what` names the section.
Result<void> check_session_bits(const OpenedUpper& upper, FileRange section, const char* what,
                                Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_VOID_CHECK_H
