// SPDX-License-Identifier: BSD-3-Clause
//
// A tree of files made ready to become an image: nothing in it is left open, and each file is one
// that ext2 can hold.
#ifndef UNIONFS_OVERLAY_BASE_BASE_TREE_H
#define UNIONFS_OVERLAY_BASE_BASE_TREE_H

#include <optional>
#include <string>

#include "overlay/base/make_base.h"

namespace unionfs {

struct BaseTree {
  FileTree tree;
  FileTime epoch;                            // see BaseOptions::epoch
  std::optional<TreeFileId> lost_and_found;  // none: the name is that of something else
  uint64_t content_bytes = 0;                // of all regular files
};

// Adds lost+found as mke2fs makes it, if the tree has nothing of that name, and gives states to
// all directories that nobody has described; those keep is_implied.  Errors as make_base().
Result<BaseTree> make_ready(FileTree tree, const BaseOptions& options);

// Bytes of a symlink's target that are kept in the inode.
constexpr bool is_fast_target(const std::string& target) {
  return target.size() < ext2::kFastSymlinkBytes;
}

// Whether ext2 has a place for all that the file says; kInvalid with the path.  Not of links, and
// not of attributes, which depend on the room that is left.
Result<void> check_file(const TreeFile& file, const std::string& path, const BaseOptions& options);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_BASE_TREE_H
