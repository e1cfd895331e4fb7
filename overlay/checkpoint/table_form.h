// SPDX-License-Identifier: BSD-3-Clause
//
// The new layer's tables: what ext2 cannot say.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_TABLE_FORM_H
#define UNIONFS_OVERLAY_CHECKPOINT_TABLE_FORM_H

#include "overlay/checkpoint/inode_form.h"

namespace unionfs {

LayerTables form_tables(const LayerSources& from, const SessionChanges& changes,
                        const Ownership& own, const KeptInodes& kept_inodes, bool is_boot_own);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_TABLE_FORM_H
