// SPDX-License-Identifier: BSD-3-Clause
//
// The changes of a layer against its lower, by path.
#ifndef UNIONFS_OVERLAY_CHANGES_TREE_CHANGES_H
#define UNIONFS_OVERLAY_CHANGES_TREE_CHANGES_H

#include <vector>

#include "overlay/changes/change.h"
#include "overlay/disk.h"

namespace unionfs {

// All changes between what is below the layer and the layer's merged image,
// sorted by path.  Visits what the layer's own directories reach, and what lies
// below names that are gone.
Result<std::vector<Change>> changes_of(const LayerOverLower& layer, const Volume& merged);

// The changes of a disk that was attached for reading only.  A session counts as
// the layer that it would become; an error says why it cannot.  It is kInvalid, and no
// damage, where somebody may be writing to the session at that moment.
Result<std::vector<Change>> changes_of(Disk& disk);
// The same without the session.  The contents of the layer's own files may be newer than
// the layer, because a session changes them in place.
Result<std::vector<Change>> changes_of_layer(Disk& disk);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_TREE_CHANGES_H
