// SPDX-License-Identifier: BSD-3-Clause
//
// A copy of ours beside what theirs has: its name, and what it must not keep.
#ifndef UNIONFS_OVERLAY_REBASE_BESIDE_H
#define UNIONFS_OVERLAY_REBASE_BESIDE_H

#include <string>

#include "overlay/tree/file_state.h"

namespace unionfs {

// How many names are tried.
constexpr unsigned kNamesBeside = 10000;

// A name of at most 255 bytes that ends in `.ours` (number 0) or `.ours.N`; a character of
// several bytes is not cut apart.
std::string name_beside(std::string name, unsigned number);

// What a note says of a copy that loses them.
constexpr const char* kWithoutPrivileges =
    "setuid, setgid and capabilities are not carried to a copy";

// Takes setuid and setgid of a regular file, and capabilities; says whether there were any.
bool take_privileges(FileState& state);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_BESIDE_H
