// SPDX-License-Identifier: BSD-3-Clause
//
// Which xattr blocks the layer owns.  Files may share one, and its h_refcount
// counts them: a block is own while any own inode refers to it, and the layer's
// count is that of own inodes alone.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_OWN_XATTRS_H
#define UNIONFS_OVERLAY_CHECKPOINT_OWN_XATTRS_H

#include <map>

#include "overlay/checkpoint/own_blocks.h"

namespace unionfs {

// How many own inodes more than in the old layer refer to a block.
using XattrUses = std::map<BlockNumber, int64_t>;

// Makes the xattr block of an own inode own, if it has one, and counts the use.
Result<void> own_xattr_block(const LayerSources& from, const InodeRecord& record, LayerSets& sets,
                             BlockClaims& claims, XattrUses& uses);

// When all uses are known: gives each xattr block the count of its own users in
// the layer, and keeps the merged count beside it.
Result<void> settle_xattrs(const LayerSources& from, const XattrUses& uses, LayerSets& sets,
                           StagedFile& stage);

// Whether the block has the head of an xattr block.
Result<bool> is_xattr_block(const Volume& volume, BlockNumber block);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_OWN_XATTRS_H
