// SPDX-License-Identifier: BSD-3-Clause
//
// A tree of files, by names, with the marks that a layer of files may carry.  It is what
// everything that comes in from elsewhere (a directory, an archive, a container image, an image of
// another file system) is read into, and what everything that goes out is written from.
#ifndef UNIONFS_OVERLAY_TREE_FILE_TREE_H
#define UNIONFS_OVERLAY_TREE_FILE_TREE_H

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "overlay/tree/file_bytes.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// Indexes the files of its tree.
using TreeFileId = uint32_t;
constexpr TreeFileId kTreeRoot = 0;

// What a name of a directory says.
enum class TreeMark {
  kFile,      // there is this file
  kWhiteout,  // there is no such name, whatever lies below the layer
  kFallthru,  // the name of what lies below shows, though the directory is opaque
};

struct TreeName {
  TreeMark mark = TreeMark::kFile;
  TreeFileId file = 0;  // kFile only
};

// One inode: a file, a directory, a device, ...  Names of one file are hard links.
struct TreeFile {
  // Links say nothing, nor do inode number and generation, but where who reads an image says so.
  // The size is that of `content`; target and device numbers are here.  Attributes are as ext2 has
  // them, also ACLs, and sorted.
  FileState state;
  // Regular files.  None: empty.
  std::shared_ptr<FileBytes> content;

  // ---- directories
  // Nobody has described it: it is here for what is in it.  Where it lies over a directory, that
  // one's state stays; else it is root's, with the permissions 0755 and the time 0.
  bool is_implied = false;
  // Nothing of what lies below it shows, but for fallthrus.
  bool is_opaque = false;
  std::map<std::string, TreeName, std::less<>> names;  // sorted by bytes
};

// Not thread-safe.  Memory follows the files and names.
class FileTree {
 public:
  // A root directory that nobody has described.
  FileTree();

  TreeFile& file(TreeFileId id) { return files_[id]; }
  const TreeFile& file(TreeFileId id) const { return files_[id]; }
  TreeFile& root() { return files_[kTreeRoot]; }
  const TreeFile& root() const { return files_[kTreeRoot]; }
  // Also those that no name leads to any more.
  size_t file_count() const { return files_.size(); }

  TreeFileId add(TreeFile file);
  // Makes the name lead to the file; whatever it was before.
  void set_name(TreeFileId directory, std::string_view name, TreeFileId file);
  void set_mark(TreeFileId directory, std::string_view name, TreeMark mark);
  // kNone of a name that is not there.
  const TreeName* find(TreeFileId directory, std::string_view name) const;

 private:
  std::vector<TreeFile> files_;
};

// One name on a walk.
struct TreeVisit {
  const std::string& path;  // from the root on, without a slash in front; "": the root
  TreeFileId directory;     // that has the name
  const TreeName& name;
  bool is_first_name;  // of its file on this walk: the hard links come later
};

// Calls `visit` for the root and then for each name: a directory before what is in it, names of
// a directory by their bytes.  Needs no stack space for deep trees.  Stops at the first error,
// which it returns.  A directory with two names is kInvalid.
Result<void> walk_tree(const FileTree& tree,
                       const std::function<Result<void>(const TreeVisit&)>& visit);

// Lays a layer over a tree, by the rules of OCI's layers and of overlayfs: a name of the layer
// hides that of the tree, a whiteout removes it, two directories of one name become one that has
// the layer's state, and an opaque one has nothing of the tree's.  Marks that have done their
// work are gone from the result; those of names that the tree does not have stay if
// `keeps_marks`, because something may lie below the tree.
void lay_over(FileTree& tree, FileTree layer, bool keeps_marks);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_TREE_FILE_TREE_H
