// SPDX-License-Identifier: BSD-3-Clause
//
// What the changes of a layer are found from.
#ifndef UNIONFS_OVERLAY_CHANGES_CHANGE_SOURCES_H
#define UNIONFS_OVERLAY_CHANGES_CHANGE_SOURCES_H

#include "fsparse/volume.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// A layer, its lower, and the merged image that they make.  All of it must
// outlive whoever refers to it, and stay as it is meanwhile.
struct ChangeSources {
  const Volume& lower;
  const Volume& upper;
  const Volume& merged;
  const Layer& layer;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_CHANGE_SOURCES_H
