// SPDX-License-Identifier: BSD-3-Clause
//
// Which inodes a plan's files have in the image that was made of it, found by their names.
#ifndef UNIONFS_OVERLAY_CHANGES_PLANNED_INODES_H
#define UNIONFS_OVERLAY_CHANGES_PLANNED_INODES_H

#include <map>
#include <vector>

#include "overlay/changes/planned_tree.h"

namespace unionfs {

// A value.
struct PlannedInodes {
  std::vector<InodeNumber> inodes;           // by their ids; 0: the file is gone
  std::map<InodeNumber, PlannedFileId> ids;  // the other way round
};

// Reads the planned directories of `merged`.  Checks each planned name: whether it is there or
// gone, that names of one file share an inode and others do not, that a file which exists has
// kept its number, and that a new directory has no other names.  Checks "." and ".." of planned
// directories and counts the directories in them.
//
// kCorrupt says what is not as planned.
Result<PlannedInodes> find_planned(const Plan& plan, const PlannedTree& tree, const Volume& merged);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_PLANNED_INODES_H
