// SPDX-License-Identifier: BSD-3-Clause
//
// The changes of a layer against its lower, by path.
#ifndef UNIONFS_OVERLAY_CHANGES_TREE_CHANGES_H
#define UNIONFS_OVERLAY_CHANGES_TREE_CHANGES_H

#include <functional>
#include <vector>

#include "overlay/changes/change.h"
#include "overlay/disk.h"

namespace unionfs {

// Takes one change; its error ends the comparison.
using ChangeVisitor = std::function<Result<void>(Change change)>;

// Calls `visit` with all changes between what is below the layer and the layer's merged image, in
// no order.  Looks at what the layer's own directories reach, and what lies below names that are
// gone.
Result<void> for_each_change(const LayerOverLower& layer, const Volume& merged,
                             const ChangeVisitor& visit);
// The same, sorted by path.
Result<std::vector<Change>> changes_of(const LayerOverLower& layer, const Volume& merged);

// A disk's changes with the images that they lie between.
struct ComparedTrees {
  const Volume& lower;
  const Volume& merged;
  const Volume& upper;          // the layer's own names and inodes
  std::vector<Change> changes;  // sorted by path
};

enum class ChangesUntil {
  kSession,  // a session counts as the layer that it would become; an error says why it cannot
  kLayer     // without the session.  The contents of the layer's own files may be newer than the
             // layer, because a session changes them in place
};

// Gives another layer with the same merged image, over a level further down: then that level is
// the lower.  What it gives must live until the visit is over.
using LayerInstead = std::function<Result<const LayerOverLower*>(const LayerOverLower& layer)>;

// Calls `visit` with the changes of a disk that was attached for reading only; the images are
// there until it returns.  Its error is this one's.  An error is kInvalid, and no damage,
// where somebody may be writing to the session at that moment.
Result<void> visit_changes(Disk& disk, ChangesUntil until,
                           const std::function<Result<void>(const ComparedTrees&)>& visit,
                           const LayerInstead& instead = {});

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_TREE_CHANGES_H
