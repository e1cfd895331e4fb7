// SPDX-License-Identifier: BSD-3-Clause
//
// The second stage of a checkpoint: what the new layer owns.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_OWNERSHIP_H
#define UNIONFS_OVERLAY_CHECKPOINT_OWNERSHIP_H

#include "overlay/checkpoint/own_names.h"
#include "overlay/checkpoint/session_changes.h"

namespace unionfs {

struct Ownership {
  // Begins as the old layer's; `given_up` are the blocks of freed inodes.
  Ownership(const LayerSources& from, const BlockSet& given_up)
      : sets(from), claims(from.layout(), given_up) {}

  LayerSets sets;
  BlockClaims claims;
  OwnInodes inodes;  // those that are new to the layer, or must be formed anew
  OwnNames names;
  std::map<GroupNumber, int64_t> directory_changes;  // own directories more than before
  uint64_t inodes_added = 0;
  uint64_t inodes_searched = 0;  // for owners of blocks changed in place
};

// Inodes become own until no name and no block asks for another.  Stages what the
// own blocks hold in the layer, except directories.  An error says why the
// session cannot be a layer.
Result<Ownership> settle_ownership(const LayerSources& from, const SessionChanges& changes,
                                   StagedFile& stage);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_OWNERSHIP_H
