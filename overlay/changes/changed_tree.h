// SPDX-License-Identifier: BSD-3-Clause
//
// The changes of a layer as a tree of whole files with marks: what an OCI layer or an upper
// directory of overlayfs has to hold, so that it gives the merged image over the lower's files.
// docs/export.md says what is in it, and why.
#ifndef UNIONFS_OVERLAY_CHANGES_CHANGED_TREE_H
#define UNIONFS_OVERLAY_CHANGES_CHANGED_TREE_H

#include "overlay/changes/tree_changes.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// A tree without fallthrus, in which no directory is implied, but for the root of a layer that
// changes nothing.  Contents stay in the merged image, which must outlive the tree.
//
// Cost and memory follow the names that changed, what lies below directories that moved, and the
// directories on the way.  If such a directory has a file with names elsewhere, the directories
// of the merged image are searched for them.
Result<FileTree> changed_tree(const ComparedTrees& trees);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_CHANGED_TREE_H
