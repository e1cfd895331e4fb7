// SPDX-License-Identifier: BSD-3-Clause
//
// Enlarges the merged image of an upper: more groups behind the layer's, and
// the state area moved behind them.
#ifndef UNIONFS_OVERLAY_UPPER_GROW_H
#define UNIONFS_OVERLAY_UPPER_GROW_H

#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/host/file.h"
#include "overlay/upper/layer.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

struct GrowParts {
  const Volume& upper;       // as it is
  WritableFile& upper_file;  // writable
  const Geometry& geometry;  // as it is
  const Layer& layer;
  StateArea& area;  // without a journal; the session must be empty
};

// `larger` is the same lower grown further.  Goes through the journal: a crash
// leaves the old size or, after the next opening, the new one.  Afterwards the
// disk must be loaded anew.
Result<void> grow_layer(const GrowParts& parts, const Geometry& larger);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_GROW_H
