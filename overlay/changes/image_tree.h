// SPDX-License-Identifier: BSD-3-Clause
//
// Files of an ext2 image as files of a tree.
#ifndef UNIONFS_OVERLAY_CHANGES_IMAGE_TREE_H
#define UNIONFS_OVERLAY_CHANGES_IMAGE_TREE_H

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/volume.h"
#include "overlay/changes/image_paths.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// Adds files of one image to a tree, each inode once.  Contents stay in the image, which must
// outlive the tree.  Not thread-safe.  Refers to both.
//
// Memory: the files of the tree, and the names of the directories that were asked for.
class ImageTree {
 public:
  // `tree` has nothing but its root, which is the image's root directory.
  ImageTree(const Volume& image, FileTree& tree);

  // Gives the root the state of the image's.
  Result<void> describe_root();

  // What a name of an image's directory leads to.  Names are kept.
  Result<std::optional<InodeNumber>> find(InodeNumber directory, std::string_view name);

  // The file of the inode, with its state and content; a directory without names, unless it was
  // added with them.
  Result<TreeFileId> add(InodeNumber inode);
  // Names it in a directory of the tree, and adds it.  kCorrupt: a directory has a name already.
  Result<TreeFileId> add_name(TreeFileId directory, std::string_view name, InodeNumber inode);
  // Adds all that is below a directory that is in the tree.
  Result<void> add_all_below(TreeFileId directory);

  InodeNumber inode_of(TreeFileId file) const { return inodes_[file]; }
  // Files that are no directories and have more links than names in the tree, and how many more.
  std::map<InodeNumber, uint32_t> missing_links() const;

 private:
  class OpenFile;
  class Content;

  Result<const ImageNames*> names_of(InodeNumber directory);
  Result<TreeFile> read(InodeNumber inode);

  const Volume& image_;
  FileTree& tree_;
  const std::shared_ptr<OpenFile> open_;
  std::vector<InodeNumber> inodes_;  // of the tree's files
  std::map<InodeNumber, TreeFileId> files_;
  std::map<InodeNumber, ImageNames> names_;
  std::map<InodeNumber, uint32_t> name_counts_;  // in the tree, but of directories
};

// What is at and below these paths of an image, each from the root on, with a slash in front or
// without; of none: everything.  Directories on the way are implied.  Symlinks are not followed.
// kInvalid: there is no such path.  The image must outlive the tree.
Result<FileTree> tree_of_paths(const Volume& image, const std::vector<std::string>& paths);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_IMAGE_TREE_H
