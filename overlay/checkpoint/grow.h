// SPDX-License-Identifier: BSD-3-Clause
//
// Enlarges the merged image of an upper: more groups behind the layer's, and
// the state area moved behind them.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_GROW_H
#define UNIONFS_OVERLAY_CHECKPOINT_GROW_H

#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// `upper` is the layer's file, `area` its state area as it is now, without a journal; the
// session must be empty.  `larger` is the same lower grown further.  Goes through the journal: a
// crash leaves the old size or, after the next opening, the new one.  Afterwards the disk must be
// loaded anew.
Result<void> grow_layer(const LayerOverLower& layer, WritableFile& upper, StateArea& area,
                        const Geometry& larger);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_GROW_H
