// SPDX-License-Identifier: BSD-3-Clause
//
// ext2, ext3 and ext4 images as trees of files, through libext2fs.
#ifndef UNIONFS_OVERLAY_SOURCES_EXT4_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_EXT4_SOURCE_H

#include <memory>
#include <string>

#include "fsparse/image.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// Whether the image has ext2's magic number where it belongs.
Result<bool> is_ext2_family(const Image& image);

// All that a mount would show, but for a lost+found that is empty: mke2fs makes one in every
// image, and it is nobody's file.  Character devices 0/0 and attributes of overlayfs are files
// and attributes like any other here.  Contents are read when they are asked for: the tree's
// files own the image.  Memory follows the number of files.
//
// kUnsupported with the remedy for a journal that must be played back first and for an image
// that was not unmounted; for encrypted files, and for features that libext2fs does not know.
// Errors name the image and the inode.
Result<FileTree> read_ext4_image(std::shared_ptr<const Image> image);
Result<FileTree> read_ext4_image(const std::string& path);

// The same as a layer that hides whatever lies below it: every directory is opaque.
Result<FileTree> read_whole_image(std::shared_ptr<const Image> image);
Result<FileTree> read_whole_image(const std::string& path);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_EXT4_SOURCE_H
