// SPDX-License-Identifier: BSD-3-Clause
//
// Files that are of use only together.
#ifndef UNIONFS_OVERLAY_REBASE_UNITS_H
#define UNIONFS_OVERLAY_REBASE_UNITS_H

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "overlay/rebase/side_tree.h"

namespace unionfs {

struct RebaseUnit {
  std::string path;      // of the directory, or of the database file
  bool is_tree = false;  // all below the path; else the file and those of the names below
  std::string text;      // what it is
};

// Behind the name of a database file.
constexpr const char* kDatabaseSuffixes[] = {"-wal", "-shm", "-journal"};

// Looks at each directory once.  Not thread-safe.  Refers to the sides, which must outlive it.
class UnitFinder {
 public:
  explicit UnitFinder(std::vector<SideTree*> sides) : sides_(std::move(sides)) {}

  // The outermost unit that the path belongs to on any of the sides.
  Result<std::optional<RebaseUnit>> unit_of(const std::string& path);

 private:
  // The names of a directory, on any of the sides.
  Result<const std::set<std::string>*> names_in(const std::string& directory);
  // The unit that all of a directory belongs to.
  Result<std::optional<RebaseUnit>> tree_of(const std::string& directory);
  Result<std::optional<RebaseUnit>> database_file(const std::string& path);

  const std::vector<SideTree*> sides_;
  std::map<std::string, std::set<std::string>> names_;      // by directory
  std::map<std::string, std::optional<RebaseUnit>> trees_;  // by directory
};

// What a file is that no program can put together of two, and what has to be run after a
// decision; empty for most paths.
std::string remedy_of(const std::string& path);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_UNITS_H
