// SPDX-License-Identifier: BSD-3-Clause
//
// From a plan to a layer that is proven: what an import and a rebase end with.
#ifndef UNIONFS_OVERLAY_CHANGES_PLANNED_LAYER_H
#define UNIONFS_OVERLAY_CHANGES_PLANNED_LAYER_H

#include <atomic>
#include <string>

#include "overlay/changes/check_planned.h"
#include "overlay/disk.h"
#include "overlay/host/log.h"

namespace unionfs {

struct PlannedLayerParts {
  const Below& below;        // what the plan was made for
  const Geometry& geometry;  // of the merged image
  // The time of what the making itself changes, which is no file's.
  uint32_t time_of_change = 1;
  const std::string& boot_id;
  const LogSink& log;
  const LogSink& progress;  // a line every few seconds; may be empty
  const std::atomic<bool>& is_cancelled;
};

struct PlannedLayer {
  CheckpointFigures checkpoint;
  ProofFigures proof;
  uint64_t bytes_written = 0;  // of contents
};

// Makes the layer in `target`, which is new and empty, through a disk and a checkpoint, and
// reads it back as whoever serves it will find it (check_planned).  Does not sync.  After an
// error the file is of no use.  ECANCELED when that was asked for.
Result<PlannedLayer> make_planned_layer(const Plan& plan, WritableFile& target,
                                        const PlannedLayerParts& parts);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_PLANNED_LAYER_H
