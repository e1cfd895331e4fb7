// SPDX-License-Identifier: BSD-3-Clause
//
// The metadata of the new layer as an ext2 image: bitmaps and counters of what
// is own, the boot area, the superblock.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_METADATA_FORM_H
#define UNIONFS_OVERLAY_CHECKPOINT_METADATA_FORM_H

#include "overlay/checkpoint/ownership.h"

namespace unionfs {

// Stages the layer's bitmaps and descriptors of the groups where they change.
Result<void> form_groups(const LayerSources& from, const Ownership& own, StagedFile& stage);

// Stages the boot area if the session wrote something else to it.  Returns
// whether it is own; it is the lower's until somebody writes to it.
Result<bool> form_boot_area(const LayerSources& from, StagedFile& stage);

// Stages the superblock, whose counters sum up the descriptors on the stage.
// Every field the user may set is the merged superblock's; geometry, features and
// counters are the layer's.
Result<void> form_superblock(const LayerSources& from, const MergedFeatures& features,
                             StagedFile& stage);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_METADATA_FORM_H
