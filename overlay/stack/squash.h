// SPDX-License-Identifier: BSD-3-Clause
//
// Squashing: one layer of several that stand on one another, with the same merged image.
#ifndef UNIONFS_OVERLAY_STACK_SQUASH_H
#define UNIONFS_OVERLAY_STACK_SQUASH_H

#include <functional>

#include "overlay/host/cancellation.h"
#include "overlay/host/log.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

struct SquashFigures {
  uint64_t written_blocks = 0;   // that the layers above the lowest one brought
  uint64_t proven_blocks = 0;    // that were compared through both chains
  uint64_t inodes_searched = 0;  // see CheckpointFigures
};

struct SquashOptions {
  LogSink log = {};
  std::function<void(uint64_t done, uint64_t total)> progress = {};  // in bytes; may be empty
  bool is_compared = true;                                           // see below
};

// Makes `output`, an empty file, a layer over what `lowest` stands on, which shows what `top`
// shows: `top` stands on `lowest`, with any number of layers between, or none.  Both are sealed,
// or at least never change meanwhile.  The cost follows what the layers own.  The output
// is an upper without a session, and durable.  With `is_compared` every used block that one of the
// layers touches was compared.  kUnsupported where one of them is a
// frozen level.  After an error the output is of no use.
Result<SquashFigures> squash_layers(const LayerOverLower& lowest, const LayerOverLower& top,
                                    WritableFile& output, const SquashOptions& options,
                                    const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_SQUASH_H
