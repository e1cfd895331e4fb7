// SPDX-License-Identifier: BSD-3-Clause
#ifndef UNIONFS_FSPARSE_SYMLINK_H
#define UNIONFS_FSPARSE_SYMLINK_H

#include <string>

#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {

// The target of a symlink, from i_block (up to 59 bytes) or from its first
// block (shorter than a block).  Checks the length and that no NUL is in it.
Result<std::string> read_symlink(const Volume& volume, const InodeRecord& inode);

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_SYMLINK_H
