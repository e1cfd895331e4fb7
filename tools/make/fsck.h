// SPDX-License-Identifier: BSD-3-Clause
//
// e2fsck over the merged image, served as a file without any kernel module but
// FUSE's.
#ifndef UNIONFS_TOOLS_MAKE_FSCK_H
#define UNIONFS_TOOLS_MAKE_FSCK_H

#include <string>

#include "overlay/stack/chain.h"

namespace unionfs::img {

struct FsckImages {
  LevelPaths levels;
  std::string upper;
  std::string plugin;  // of nbdkit: a name or a path
};

// Runs "e2fsck -fy"; its report goes to stderr.  Fails when a program is missing
// (the message says which) or when errors were left.  A signal that ends a program ends this
// one when what was started has ended; then it does not return.
Result<void> run_fsck(const FsckImages& images);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_FSCK_H
