// SPDX-License-Identifier: BSD-3-Clause
//
// e2fsck over the merged image, served as a file without any kernel module but
// FUSE's; and over a copy of an image, which needs nothing but e2fsck.
#ifndef UNIONFS_TOOLS_MAKE_FSCK_H
#define UNIONFS_TOOLS_MAKE_FSCK_H

#include <string>

#include "overlay/host/posix_file.h"
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

// Whether there is an e2fsck.
bool has_e2fsck();
// Runs "e2fsck -fn" over a file that may have no name, without its report.  kCorrupt where it finds
// anything; `name` is what the image is called.
Result<void> look_with_e2fsck(const PosixFile& image, const std::string& name);
// Runs "e2fsck -fy"; signals and its report are as with run_fsck().
Result<void> mend_with_e2fsck(const PosixFile& image, const std::string& name);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_FSCK_H
