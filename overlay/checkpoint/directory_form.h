// SPDX-License-Identifier: BSD-3-Clause
//
// An own directory in the layer's form: real names of own inodes, fallthrus for
// the lower's names that still show, whiteouts for those that do not.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_DIRECTORY_FORM_H
#define UNIONFS_OVERLAY_CHECKPOINT_DIRECTORY_FORM_H

#include "overlay/checkpoint/ownership.h"

namespace unionfs {

struct DirectoryForm {
  bool is_opaque = false;  // where the whiteouts have no room, or nothing of the lower shows
  uint16_t links_count = 0;
};

// Stages the blocks of the directory and returns what its inode says of them.
// `directory` is the merged image's.
Result<DirectoryForm> form_directory(const LayerSources& from, const Ownership& own,
                                     const InodeRecord& directory, StagedFile& stage);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_DIRECTORY_FORM_H
