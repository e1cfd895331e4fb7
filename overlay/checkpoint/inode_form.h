// SPDX-License-Identifier: BSD-3-Clause
//
// Own inodes in the layer's form: holes where blocks fall through, and counts of
// what is own.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_INODE_FORM_H
#define UNIONFS_OVERLAY_CHECKPOINT_INODE_FORM_H

#include <map>

#include "overlay/checkpoint/ownership.h"

namespace unionfs {

// The merged counts of own inodes whose counts in the layer are others.
using KeptInodes = std::map<InodeNumber, KeptInode>;

// Stages the inodes that are formed, with the content of directories, and clears
// the slots of own inodes that were freed.  Returns the merged counts of all own
// inodes, those that did not change among them.  Takes the records out of `own`.
Result<KeptInodes> form_inodes(const LayerSources& from, const SessionChanges& changes,
                               Ownership& own, StagedFile& stage);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_INODE_FORM_H
