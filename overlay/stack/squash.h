// SPDX-License-Identifier: BSD-3-Clause
//
// Squashing: one layer of several levels that stand on one another, with the same merged image.
// Frozen levels count with their sessions, where these are seen.
#ifndef UNIONFS_OVERLAY_STACK_SQUASH_H
#define UNIONFS_OVERLAY_STACK_SQUASH_H

#include <functional>

#include "overlay/geometry/number_sets.h"
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

// What is squashed: `top` stands on `lowest`, with any number of layers between, or none, and may
// be the same one.  They are sealed or frozen, or at least never change meanwhile.
struct SquashSource {
  const LayerOverLower& lowest;  // not void
  const LayerOverLower& top;     // not void
  // What they show: that of `top`, or of a frozen level, whose sessions end at `top`.
  const MergedView& view;
  // The same as a clean ext2 image, where the view shows none, and in which blocks that has other
  // bytes; else nullptr.
  const ReadableFile* mended = nullptr;
  const BlockSet* mended_blocks = nullptr;
};

// Makes `output`, an empty file, a layer over what `lowest` stands on, which shows the same.
// The cost follows what the layers own and the sessions wrote.  The output
// is an upper without a session, and durable.  With `is_compared` every used block that one of
// them touches was compared.  kUnsupported where what is shown is no clean ext2.  After an error
// the output is of no use.
Result<SquashFigures> squash_levels(const SquashSource& source, WritableFile& output,
                                    const SquashOptions& options,
                                    const std::atomic<bool>& is_cancelled);
// The same of layers alone.
Result<SquashFigures> squash_layers(const LayerOverLower& lowest, const LayerOverLower& top,
                                    WritableFile& output, const SquashOptions& options,
                                    const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_SQUASH_H
