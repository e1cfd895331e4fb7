// SPDX-License-Identifier: BSD-3-Clause
//
// ext2 gives a directory one name.  Who meets one twice is in a damaged image, and perhaps goes
// round in it.
#ifndef UNIONFS_FSPARSE_ENTERED_DIRECTORIES_H
#define UNIONFS_FSPARSE_ENTERED_DIRECTORIES_H

#include <set>

#include "fsparse/volume.h"

namespace unionfs {

// The directories that one walk over an image has entered.  Not thread-safe.  Refers to the image,
// which must outlive it.
class EnteredDirectories {
 public:
  explicit EnteredDirectories(const Volume& volume) : volume_(volume) {}

  // kCorrupt when the walk has been there.
  Result<void> enter(InodeNumber directory) {
    if (!entered_.insert(directory).second) {
      return corrupt("{}: directory inode {} is named twice", volume_.name(), directory);
    }
    return {};
  }

 private:
  const Volume& volume_;
  std::set<InodeNumber> entered_;
};

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_ENTERED_DIRECTORIES_H
