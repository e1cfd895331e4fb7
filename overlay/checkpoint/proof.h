// SPDX-License-Identifier: BSD-3-Clause
//
// A checkpoint proves itself: the merged image is synthesized from lower and
// new layer and compared with what the session shows, before anything is
// committed.  A mistake in the rules costs a refused checkpoint, not a disk.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_PROOF_H
#define UNIONFS_OVERLAY_CHECKPOINT_PROOF_H

#include <atomic>
#include <functional>

#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// Blocks from the one asked for up to `end`, which both images read from the same bytes of
// one file, or do not.
struct SourcesRun {
  bool is_same = false;
  BlockNumber end;
};
using CompareSources = std::function<SourcesRun(BlockRange blocks)>;

// Compares the blocks in both images.  `sources` tells of which blocks that is idle; it may
// be empty.  Not compared: free blocks, slots of free
// inodes, access times, and in directory blocks what is not a live entry.  Blocks
// of a directory's index are compared byte for byte.
// `layer` is the new one.  An error names the first block that differs.
Result<void> prove_same(const Volume& session, const Volume& synthesized, const Geometry& geometry,
                        const Layer& layer, const BlockSet& blocks, const CompareSources& sources,
                        const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_PROOF_H
