// SPDX-License-Identifier: BSD-3-Clause
//
// The blocks of an inode that may be damaged.
#ifndef UNIONFS_FSPARSE_SOUND_BLOCKS_H
#define UNIONFS_FSPARSE_SOUND_BLOCKS_H

#include "fsparse/block_map.h"

namespace unionfs {

// As walk_block_map(), but what is wrong is left out, with all that hangs below it: a wrong
// pointer, an indirect block that was visited already, and what is more than the image has.
// Errors are those of reading and of the visitor.
Result<void> walk_sound_blocks(const Volume& volume, const InodeRecord& inode,
                               const BlockVisitor& visitor);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_SOUND_BLOCKS_H
