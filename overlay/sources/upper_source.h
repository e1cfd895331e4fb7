// SPDX-License-Identifier: BSD-3-Clause
//
// Uppers that others made, as layers: an ext2 image with whiteouts, fallthrus and opaque
// directories of the union patches (with or without the feature that announces them), or an ext2,
// ext3 or ext4 image in which overlayfs had its upper directory.
#ifndef UNIONFS_OVERLAY_SOURCES_UPPER_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_UPPER_SOURCE_H

#include <memory>
#include <string>

#include "fsparse/image.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// Marks of both kinds may stand beside one another.  An empty lost+found is nobody's file.
// Contents are read when they are asked for: the tree's files own the image.
//
// kInvalid for an upper of our own, and for overlayfs's redirects and metadata copies, which say
// that a part of the file is somewhere else.  Else as read_ext4_image().
Result<FileTree> read_foreign_upper(std::shared_ptr<const Image> image);
Result<FileTree> read_foreign_upper(const std::string& path);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_UPPER_SOURCE_H
