// SPDX-License-Identifier: BSD-3-Clause
//
// What a plan means for the image that it was made for: where its names lead before, which
// directories move or go, and how many names each file has afterwards.
#ifndef UNIONFS_OVERLAY_CHANGES_PLANNED_TREE_H
#define UNIONFS_OVERLAY_CHANGES_PLANNED_TREE_H

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fsparse/volume.h"
#include "overlay/changes/plan.h"

namespace unionfs {

// What a name leads to before the plan is made.
struct FormerTarget {
  InodeNumber inode;
  bool is_directory = false;
};

// A value that refers to its plan.  Memory follows the plan, and what goes below directories that
// it removes.
struct PlannedTree {
  // Of each planned name that is there before, by its key in the plan.
  std::map<const PlannedNameKey*, FormerTarget> former;
  // Of each planned file: a name of it, nullptr if the plan has none.
  std::vector<const std::map<PlannedNameKey, PlannedName>::value_type*> first_names;
  // Of each planned file that is no directory: its names afterwards.
  std::vector<uint32_t> links;
  // Of planned directories that are new or move: where they are then.
  std::map<PlannedFileId, PlannedFileId> new_parents;
  // Planned files that exist and have no name afterwards, or lie below such a directory.
  std::set<PlannedFileId> gone;
  // Of files that the plan only takes names from: the names that are left.
  std::map<InodeNumber, uint32_t> left_links;
  // Directories that have no name afterwards, and all below them.
  std::set<InodeNumber> gone_directories;

  // `key` and `name`: in the plan.  Whether the name leads elsewhere afterwards.
  bool is_changed(const Plan& plan, const PlannedNameKey& key, const PlannedName& name) const;
  // For messages: a path of the file as quoted_name() gives it, or else its inode.
  std::string describe(const Plan& plan, PlannedFileId id) const;
};

// Reads the planned directories that exist, and those that go.  `image` is the one that the
// plan was made for, unchanged.
//
// kInvalid where the plan itself cannot be: a name that is none, a new file without a name or
// without content, a file of another type than its inode, a directory with two names or out of
// the root's reach, a name in a directory that goes.  EMLINK for too many links.  kCorrupt for a
// damaged image.
Result<PlannedTree> plan_tree(const Plan& plan, const Volume& image);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_PLANNED_TREE_H
