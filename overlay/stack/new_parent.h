// SPDX-License-Identifier: BSD-3-Clause
//
// An upper that is pointed at another level, which shows the same as the one that it was made over.
#ifndef UNIONFS_OVERLAY_STACK_NEW_PARENT_H
#define UNIONFS_OVERLAY_STACK_NEW_PARENT_H

#include <vector>

#include "overlay/host/cancellation.h"
#include "overlay/host/log.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// What an upper stands on now, and what it is to stand on.
struct ParentChange {
  const Below& old_below;
  const Below& new_below;
  // The layers that the two do not share: where these touch nothing, both read the same bytes.
  std::vector<const LayerOverLower*> layers;
};

// Whether the upper can be pointed at another level at all: what prove_new_parent() refuses without
// looking at that level.  `layer` is the upper's, over its old level.
Result<void> check_can_change_parent(const LayerOverLower& layer, const ReadableFile& upper);

// The state area of the upper over the new level.  Every used block that the upper or one of the
// layers touches was compared, and so were all records of what the upper depends on.  Writes
// nothing.  kInvalid where the upper has a session or an unfinished checkpoint, is void, sealed or
// frozen, or would show anything else.
Result<StateArea> prove_new_parent(const ParentChange& change, const ReadableFile& upper,
                                   const LogSink& log, const std::atomic<bool>& is_cancelled);

// Writes that area to both slots of the header; durable.  Until the first is written the upper
// stands on the old level, and after an error or a crash on the old or the new one.
Result<void> write_new_parent(WritableFile& upper, StateArea area);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_NEW_PARENT_H
