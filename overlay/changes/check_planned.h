// SPDX-License-Identifier: BSD-3-Clause
//
// The proof of a plan: what a new layer shows is what the plan says, and nothing else of the
// lower is changed.
#ifndef UNIONFS_OVERLAY_CHANGES_CHECK_PLANNED_H
#define UNIONFS_OVERLAY_CHANGES_CHECK_PLANNED_H

#include "overlay/changes/plan.h"
#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

struct ProofFigures {
  uint64_t names = 0;
  uint64_t bytes = 0;  // of contents that were read back and compared
};

// `layer` is the new layer over the image that the plan was made for, `merged` what it shows.
//
// (1) Each planned name leads to a file that is as planned: type, permission bits, owner, group,
//     user flags, times as far as the inode keeps them (but the last access, which is no change
//     to a checkpoint), attributes, content byte for byte, and as many links as names; names that
//     share a planned file share an inode, others do not; a file that exists has kept its number; a
//     name that goes is gone. Label, UUID and the other fields that a plan may set are as planned,
//     or else the lower's; so is the boot block.
// (2) What the layer changes against its lower (changes_of) is planned, name for name, and so is
//     each content that is changed.  Each own inode is reserved, a planned file, a file that the
//     plan takes a name from, or a directory on the way to one of their names; each own block is
//     an own inode's.  Each whited-out inode is reserved, one that the plan frees, a planned
//     file's, or free below; each whited-out block was one of such an inode.
//
// So whatever the plan does not name is the lower's, without being read.  Cost and memory follow
// the plan, what it removes, and the layer.
//
// An error says what is not as planned, and where.
Result<ProofFigures> check_planned(const Plan& plan, const LayerOverLower& layer,
                                   const Volume& merged);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_CHECK_PLANNED_H
