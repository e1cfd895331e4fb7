// SPDX-License-Identifier: BSD-3-Clause
//
// The paths that somebody wants to see the changes of.
#ifndef UNIONFS_OVERLAY_CHANGES_CHOSEN_PATHS_H
#define UNIONFS_OVERLAY_CHANGES_CHOSEN_PATHS_H

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/volume.h"
#include "overlay/changes/change.h"

namespace unionfs {

// A value.
class ChosenPaths {
 public:
  // Of none: all.  Each is from the root on, with a slash in front or without; the bytes of
  // the name as they are.  kInvalid: one is empty, or has a "..".
  static Result<ChosenPaths> parse(const std::vector<std::string>& paths);

  // kInvalid: a path is in neither image.  Links in it are not followed.
  Result<void> check_present(const Volume& lower, const Volume& merged) const;

  // Whether a name of the change, the old or the new one, is chosen or below one that is.
  bool has(const Change& change) const;

  // What the change is a part of, seen from the chosen path next above it: the path one
  // component further down, or the chosen path itself.  The change must be chosen.
  std::string_view part_of(const Change& change) const;

 private:
  // The length of the longest one that is the path or above it; npos: none is.
  size_t longest_above(std::string_view path) const;

  std::set<std::string, std::less<>> paths_;  // "/a/b"; "": the root
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_CHOSEN_PATHS_H
