// SPDX-License-Identifier: BSD-3-Clause
//
// From inodes and names, as images of file systems have them, to a tree of files.
#ifndef UNIONFS_OVERLAY_SOURCES_INODE_TREE_H
#define UNIONFS_OVERLAY_SOURCES_INODE_TREE_H

#include <string>
#include <vector>

#include "overlay/tree/file_tree.h"

namespace unionfs {

struct InodeName {
  std::string name;
  TreeMark mark = TreeMark::kFile;
  uint32_t inode = 0;  // kFile only
};

// An image whose inodes are asked for by number.
class InodeSource {
 public:
  virtual ~InodeSource() = default;

  virtual const std::string& name() const = 0;  // of the image, for messages
  // Without its names.  Is asked once for each inode.
  virtual Result<TreeFile> read_file(uint32_t inode) = 0;
  // Without "." and "..".
  virtual Result<std::vector<InodeName>> read_names(uint32_t directory) = 0;
};

// What the root directory leads to.  Names of one inode are hard links.  kCorrupt for a root
// that is no directory, a name that comes twice, and a directory with a second name, so that it
// ends whatever the image says.
Result<FileTree> read_inode_tree(InodeSource& source, uint32_t root);

// mke2fs makes it, and so does e2fsck; while nothing is in it, it is nobody's file.
void drop_empty_lost_and_found(FileTree& tree);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_INODE_TREE_H
