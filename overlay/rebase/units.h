// SPDX-License-Identifier: BSD-3-Clause
//
// Files that are of use only together.
#ifndef UNIONFS_OVERLAY_REBASE_UNITS_H
#define UNIONFS_OVERLAY_REBASE_UNITS_H

#include <optional>
#include <span>
#include <string>

#include "overlay/rebase/side_tree.h"

namespace unionfs {

struct RebaseUnit {
  std::string path;      // of the directory, or of the database file
  bool is_tree = false;  // all below the path; else the file and those of the names below
  std::string text;      // what it is
};

// Behind the name of a database file.
constexpr const char* kDatabaseSuffixes[] = {"-wal", "-shm", "-journal"};

// The outermost unit that the path belongs to on any of the sides.
Result<std::optional<RebaseUnit>> unit_of(const std::string& path,
                                          std::span<SideTree* const> sides);

// What a file is that no program can put together of two, and what has to be run after a
// decision; empty for most paths.
std::string remedy_of(const std::string& path);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_UNITS_H
