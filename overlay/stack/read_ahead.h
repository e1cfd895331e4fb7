// SPDX-License-Identifier: BSD-3-Clause
//
// What opening levels reads of other servers, read for all of them side by side.  One after the
// other, each level would wait for some answers of its own, and so would a chain of ten for ten
// times as many.
#ifndef UNIONFS_OVERLAY_STACK_READ_AHEAD_H
#define UNIONFS_OVERLAY_STACK_READ_AHEAD_H

#include <functional>
#include <span>

#include "fsparse/result.h"
#include "overlay/stack/level_file.h"

namespace unionfs {

// Calls `work` with each number below `count`, at the same time, and returns when all calls have.
// The threads have ended then, so that the process can fork.
void side_by_side(size_t count, const std::function<void(size_t)>& work);

// Of the levels of a chain, the lowest first, none of them started: what of a remote one the
// opening reads is in its memory afterwards, up to half of what that has room for.  The error is of
// the lowest whose server could not be read: the opening would have it, too.  Whatever else is
// wrong ends it, and shows when they are opened.
Result<void> read_ahead(std::span<const LevelFile* const> levels);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_READ_AHEAD_H
