// SPDX-License-Identifier: BSD-3-Clause
//
// Images of file systems as layers over a lower: which kind one is, and how it is read.
#ifndef UNIONFS_OVERLAY_SOURCES_IMAGE_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_IMAGE_SOURCE_H

#include <memory>
#include <string>

#include "fsparse/volume.h"
#include "overlay/host/log.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

enum class ImageMeaning {
  kUnknown,  // by what is in it; see read_image_layer()
  kWhole,    // all of the file system, such as a changed copy of the lower
  kUpper,    // what lies over a lower, with marks for what is deleted
};

struct SourceLayer {
  FileTree tree;
  // It is a copy of the lower, so the same inode number is the same file.
  bool are_inodes_of_lower = false;
};

// A file, a qcow2 image, or the address of an NBD export.
Result<std::shared_ptr<const Image>> open_image_source(const std::string& location);

// A jffs2 image is an upper. So is an image of the ext2 family that has the whiteout feature, or
// marks of overlayfs; one that has the lower's UUID is a changed copy of it.  Of any other it
// cannot be known: kInvalid, with what to say.  The tree's files own the image.
Result<SourceLayer> read_image_layer(const std::string& location, ImageMeaning meaning,
                                     const Volume& lower, const LogSink& notes);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_IMAGE_SOURCE_H
