// SPDX-License-Identifier: BSD-3-Clause
//
// Which inodes of the lower the files of a changed copy of it still are: the rule that SameFile
// has for the inodes of a layer.  A number alone proves nothing, because one that was freed is
// given out again.
#ifndef UNIONFS_OVERLAY_IMPORT_COPIED_INODES_H
#define UNIONFS_OVERLAY_IMPORT_COPIED_INODES_H

#include <map>
#include <optional>

#include "overlay/geometry/number_sets.h"
#include "overlay/rebase/side_tree.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// Not thread-safe.  Refers to both trees, which must outlive it.  Errors name the image that
// cannot be read.
class CopiedInodes {
 public:
  // Numbers and generations of `copy` are those of its image, and each of its files has a name.
  CopiedInodes(const FileTree& copy, SideTree& lower);

  // The lower's inode of this file's number, if nothing speaks against it: type, generation and,
  // where both have it, birth time agree.  Enough for a name that stayed where it was.
  Result<std::optional<InodeNumber>> possible(TreeFileId id);
  // The same, if something speaks for it, too: a generation that was drawn, a block of the same
  // bytes, or equal content.  Of a directory, one child that is possibly the same is enough.
  Result<std::optional<InodeNumber>> proven(TreeFileId id);
  // Whether some file of the copy is proven to be this inode of the lower.
  Result<bool> is_kept(InodeNumber inode);

  uint64_t bytes_compared() const { return bytes_compared_; }

 private:
  Result<bool> prove(TreeFileId id, InodeNumber inode);
  Result<bool> has_same_child(const TreeFile& directory, InodeNumber inode);
  Result<bool> has_same_bytes(const TreeFile& file, InodeNumber inode);

  const FileTree& copy_;
  SideTree& lower_;
  UsedNumbers used_below_;
  std::map<InodeNumber, TreeFileId> ids_;  // by number
  std::map<TreeFileId, bool> proven_;      // of those that are possible
  uint64_t bytes_compared_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_IMPORT_COPIED_INODES_H
