// SPDX-License-Identifier: BSD-3-Clause
//
// Names and paths of one ext2 image.
#ifndef UNIONFS_OVERLAY_CHANGES_IMAGE_PATHS_H
#define UNIONFS_OVERLAY_CHANGES_IMAGE_PATHS_H

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {

using ImageNames = std::map<std::string, InodeNumber, std::less<>>;

// Names of a directory but "." and "..", with the inodes that they lead to.
Result<ImageNames> read_names(const Volume& image, InodeNumber directory);

// Takes the first name from a path, which is empty then if there is no more; empty: there was
// none.
std::string_view take_name(std::string_view& path);

// The inode of a path from the root on.  Symlinks are followed as by a program whose root
// directory is the image's: none leads out of it.  kInvalid: there is no such file, or too many
// links.
Result<InodeNumber> follow_path(const Volume& image, std::string_view path);
// The same, but a symlink is a file like any other, and ".." a name that nothing has.
Result<InodeNumber> find_path(const Volume& image, std::string_view path);

// One name on a walk.
struct ImageVisit {
  const std::string& path;  // with a slash in front; "/" of the root
  const InodeRecord& record;
};

// Calls `visit` for the inode at `path` and all that is below it: a directory before what is in
// it, names by their bytes.  kCorrupt: a directory has two names.  Needs no stack space for deep
// trees.
Result<void> walk_image(const Volume& image, const std::string& path, InodeNumber start,
                        const std::function<Result<void>(const ImageVisit&)>& visit);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_IMAGE_PATHS_H
