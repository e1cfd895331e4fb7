// SPDX-License-Identifier: BSD-3-Clause
//
// The names and the paths of the lower's directories, by inode number.
#ifndef UNIONFS_OVERLAY_CHANGES_LOWER_NAMES_H
#define UNIONFS_OVERLAY_CHANGES_LOWER_NAMES_H

#include <map>
#include <string>

#include "fsparse/volume.h"
#include "overlay/changes/sorted_names.h"

namespace unionfs {

// Reads each directory once, when it is first asked for.  Not thread-safe.
// Refers to the lower, which must outlive it.
class LowerNames {
 public:
  // By name, without "." and "..".
  using Names = SortedNames;

  explicit LowerNames(const Volume& lower) : lower_(lower) {}

  // The names stay where they are while this object lives.
  Result<const Names*> of(InodeNumber directory);
  // Where ".." of the directory leads; kCorrupt where there is none.
  Result<InodeNumber> parent_of(InodeNumber directory) const;
  // From the root on, without a slash at the end; empty: the root.
  Result<std::string> path(InodeNumber directory);

 private:
  Result<std::string> name_in(InodeNumber parent, InodeNumber child);

  const Volume& lower_;
  std::map<InodeNumber, Names> names_;
  std::map<InodeNumber, std::string> paths_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_LOWER_NAMES_H
