// SPDX-License-Identifier: BSD-3-Clause
//
// What a lower must become so that it shows a tree from elsewhere laid over it: the comparison
// of an import.
#ifndef UNIONFS_OVERLAY_IMPORT_TREE_PLAN_H
#define UNIONFS_OVERLAY_IMPORT_TREE_PLAN_H

#include <cstdint>

#include "overlay/changes/plan.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

struct ImportRules {
  // The tree's inode numbers and generations are those of a copy of the lower: a file that has
  // another name can be the same file all the same (see CopiedInodes).  All directories of the
  // tree must be opaque then.
  bool are_inodes_of_lower = false;
};

struct ImportFigures {
  uint64_t added = 0;      // names that lead to a file that was not there
  uint64_t changed = 0;    // names whose file has other content or metadata, or is another one
  uint64_t unchanged = 0;  // names that the tree has exactly as the lower
  uint64_t removed = 0;    // names of the lower that go; a directory counts once
  uint64_t missing = 0;    // whiteouts of names that the lower does not have
  uint64_t bytes_compared = 0;
};

struct PlannedImport {
  Plan plan;  // for the lower; refers to contents of the tree
  ImportFigures figures;
};

// A name of the tree hides the lower's.  Two directories of one name become one, with the tree's
// state if it has one.  A whiteout removes a name, and an opaque directory all that it does not
// name, but for a lost+found of the root.
//
// A file that is equal to the lower's of this name stays the lower's.  One that differs is
// changed in place, which keeps its number and the blocks that stay equal, where each name that
// the lower's file has leads to it; else it is a new one, because names that the tree does not
// speak of must not change with it.  Equal are type, permission bits, owner, group, user flags,
// attributes, time of modification (as far as the lower's inodes can keep it), target, device
// numbers, and bytes.
//
// kInvalid where the tree has something in a directory that nobody described, and the lower has
// a symlink or a file of this name: programs differ in what they make of it.
//
// Cost and memory follow the tree, and the lower's directories that it names; of opaque ones, and
// of files that are in both, also what the lower has there.  Errors name the image or the source.
Result<PlannedImport> plan_import(const FileTree& tree, const Volume& lower,
                                  const ImportRules& rules);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_IMPORT_TREE_PLAN_H
