// SPDX-License-Identifier: BSD-3-Clause
//
// Turns a session into a layer: build, prove, commit, bring home.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_CHECKPOINT_H
#define UNIONFS_OVERLAY_CHECKPOINT_CHECKPOINT_H

#include <atomic>

#include "overlay/checkpoint/layer_builder.h"
#include "overlay/host/file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// The parts of an opened disk whose session is to become a layer.  The upper is
// writable and nobody else reads or writes the merged image.
struct CheckpointParts {
  const Volume& lower;
  const ReadableFile& lower_file;
  const Volume& upper;
  WritableFile& upper_file;
  const Geometry& geometry;
  const Layer& layer;
  const MergedView& view;  // with the session
  const SessionBitmap& bitmap;
  StateArea& area;
  const std::atomic<bool>& is_cancelled;
};

// `is_cancelled` is looked at until the commit; then the error is ECANCELED.
// An error that comes before the commit leaves the session as it was, and says
// why it cannot become a layer.  After one that comes later `area` has a
// journal, and the next opening finishes the work.  In either case, and after
// success, the disk must be loaded anew.
Result<CheckpointFigures> make_checkpoint(const CheckpointParts& parts);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_CHECKPOINT_H
