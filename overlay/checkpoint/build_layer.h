// SPDX-License-Identifier: BSD-3-Clause
//
// Builds the next layer out of a session: what the client's raw blocks mean as
// files.  build_layer() is the table of contents of this folder; each stage has
// its own header, takes the sources and what earlier stages found, and returns a
// value that later stages only read.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_BUILD_LAYER_H
#define UNIONFS_OVERLAY_CHECKPOINT_BUILD_LAYER_H

#include <vector>

#include "overlay/checkpoint/layer_sources.h"
#include "overlay/host/staged_file.h"

namespace unionfs {

// What a checkpoint did, for logs and tests.
struct CheckpointFigures {
  uint64_t written_blocks = 0;  // by the session
  uint64_t own_inodes_added = 0;
  // Apart from those that the hints name.
  uint64_t directories_searched = 0;  // for names of files changed in place
  uint64_t inodes_searched = 0;       // for owners of blocks changed in place
  uint64_t staged_bytes = 0;
};

// The new layer, apart from what is on the stage.
struct BuiltLayer {
  LayerTables tables;
  LowerRecords lower_records;
  std::vector<BlockRange> dead;  // whose bytes in the upper mean nothing any more
  BlockSet to_prove;             // whose merged bytes the new layer must give again
  CheckpointFigures figures;
};

// Stages the new layer's ext2 part; the upper is only read.  An error says why
// this session cannot be a layer; then nothing that was staged counts.  ECANCELED
// soon after `from.is_cancelled` is set.
Result<BuiltLayer> build_layer(const LayerSources& from, StagedFile& stage);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_BUILD_LAYER_H
