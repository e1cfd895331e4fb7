// SPDX-License-Identifier: BSD-3-Clause
//
// The names of a snapshot of a running disk: the one that the frozen file gets, and the hidden one
// of the next upper until it takes the upper's.
#ifndef UNIONFS_OVERLAY_STACK_SNAPSHOT_NAMES_H
#define UNIONFS_OVERLAY_STACK_SNAPSHOT_NAMES_H

#include <string>
#include <string_view>

#include "overlay/host/posix_file.h"
#include "overlay/upper/upper_format.h"

namespace unionfs {

// PosixFile's purpose of the next upper.
constexpr std::string_view kNextUpper = "snapshot";
// In which its hidden name ends.
uint64_t hidden_digits_of(const upper_format::Digest& freeze_id);

// Whether the upper can be frozen under this path, and another file can take its own.  kInvalid,
// or kSystem where the host does not allow it.
Result<void> check_names(const PosixFile& upper, const std::string& path,
                         const std::string& frozen_path);
// Gives a file one more name, durably and without replacing anything.
Result<void> add_name(const PosixFile& file, const std::string& path);
// Takes that name away, if it is still this file's; durably.
Result<void> remove_name(const PosixFile& file, const std::string& path);

// A snapshot that was cut off before it counted: the file of the next upper.  kInvalid if there is
// none, because then the file at `path` is a level of another upper.
Result<std::string> find_next_upper(const std::string& path, const upper_format::Digest& freeze_id);
// Removes the name that the frozen file should have got, as `next_upper` says it.
Result<void> take_back_name(const PosixFile& upper, const std::string& path,
                            const std::string& next_upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_SNAPSHOT_NAMES_H
