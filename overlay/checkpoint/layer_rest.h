// SPDX-License-Identifier: BSD-3-Clause
//
// What is left to do once the layer is formed: blocks to give back to the host,
// and blocks to prove.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_LAYER_REST_H
#define UNIONFS_OVERLAY_CHECKPOINT_LAYER_REST_H

#include <vector>

#include "overlay/checkpoint/ownership.h"

namespace unionfs {

// Blocks whose bytes in the upper mean nothing in the new layer: what the session
// wrote, and then what the old layer owned, without what the new layer owns.
std::vector<BlockRange> find_dead(const LayerSources& from, const SessionChanges& changes,
                                  const Ownership& own);

// Blocks whose merged bytes come another way than before.  One bit a block: a
// session may have written millions.
BlockSet find_blocks_to_prove(const LayerSources& from, const SessionChanges& changes,
                              const Ownership& own, const StagedFile& stage);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_LAYER_REST_H
