// SPDX-License-Identifier: BSD-3-Clause
//
// A snapshot of an upper that nobody serves: it gets another name and is frozen, and a new, void
// upper of its first name stands on it.
#ifndef UNIONFS_OVERLAY_STACK_SNAPSHOT_H
#define UNIONFS_OVERLAY_STACK_SNAPSHOT_H

#include <string>

#include "overlay/disk.h"
#include "overlay/host/log.h"
#include "overlay/stack/chain.h"

namespace unionfs {

// Whether a level may have this name: no directory, no leading dot, and no longer than what a
// header can record.  kInvalid if not.
Result<void> check_level_name(const std::string& name);

// Freezes the upper of this path, which stands on `levels`, as `name` in its own directory, and
// puts a void upper in its place.  Nothing is copied.  kInvalid where something has that name.
// After an error or a crash the upper is what it was, perhaps with a second name; or it is frozen,
// and the same call goes on from there.  A snapshot that a server did not bring to its end is taken
// back first, or ended.
Result<void> take_snapshot(const LevelPaths& levels, const std::string& upper_path,
                           const std::string& name, const LogSink& log);

// Takes back what a server left that died in a snapshot of the upper at `path` before that counted:
// the second name, the header's bit, the hidden file of the next upper.  `disk` is the upper's,
// which is freezing and can be written, and has no session yet.  kInvalid where the snapshot
// counts, so that the file is a level of another upper.
Result<void> take_back_snapshot(const std::string& path, const PosixFile& upper, Disk& disk,
                                const LogSink& log);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_SNAPSHOT_H
