// SPDX-License-Identifier: BSD-3-Clause
//
// Whether an inode of the layer is still the file that it is in the lower.  The number
// alone proves nothing, because a freed number is given out again, and the generation is
// 0 for files that mke2fs or debugfs made.
#ifndef UNIONFS_OVERLAY_CHANGES_SAME_FILE_H
#define UNIONFS_OVERLAY_CHANGES_SAME_FILE_H

#include <map>

#include "overlay/changes/inode_changes.h"

namespace unionfs {

// Not thread-safe.  Refers to the sources' images and to `inodes`, which must outlive it.
class SameFile {
 public:
  SameFile(const ChangeSources& sources, InodeChanges& inodes)
      : from_(sources),
        used_below_(sources.lower),
        inode_whiteouts_(sources.merged.layout(), sources.layer.inode_whiteouts()),
        own_inodes_(sources.merged.layout(), sources.layer.own_inodes()),
        inodes_(inodes) {}

  // Nothing speaks against it: the lower has the inode, the layer does not white it out, and
  // type, generation and, where both have it, birth time agree.  Enough for a name that
  // stayed where it was.
  Result<bool> is_possible(InodeNumber inode);

  // Something speaks for it, too: a generation that was drawn, a block or a name that still
  // falls through, or equal content.  It takes this to say that a file was moved.  Of a
  // directory, one child that is possibly the same is enough.
  Result<bool> is_proven(InodeNumber inode);

 private:
  Result<bool> prove(InodeNumber inode);
  Result<bool> has_same_child(const InodeRecord& below, const InodeRecord& own);

  const ChangeSources from_;
  UsedNumbers used_below_;
  const InodeSet inode_whiteouts_;
  const InodeSet own_inodes_;
  InodeChanges& inodes_;
  std::map<InodeNumber, bool> proven_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_SAME_FILE_H
