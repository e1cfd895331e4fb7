// SPDX-License-Identifier: BSD-3-Clause
//
// A jffs2 image as a tree of files: what a device's flash holds, as mkfs.jffs2 or a kernel wrote
// it.  What is deleted in it is no name of the tree.  Whiteouts of the union patches and marks of
// overlayfs become marks of the tree, so that an overlay of OpenWrt is a layer.
#ifndef UNIONFS_OVERLAY_SOURCES_JFFS2_SOURCE_H
#define UNIONFS_OVERLAY_SOURCES_JFFS2_SOURCE_H

#include <memory>
#include <string>

#include "fsparse/image.h"
#include "overlay/host/log.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

// Whether a jffs2 node with a right checksum lies in the first bytes of the image.
Result<bool> is_jffs2(const Image& image);

// Contents are read when they are asked for: the tree's files own the image.  `notes` is told
// what does not count because it is damaged, as the kernel tells it.  Memory follows the number
// of nodes.  kCorrupt for what no kernel writes, kUnsupported for nodes and compressors that are
// not known; errors name the image, and the inode or where the node lies.
Result<FileTree> read_jffs2_image(std::shared_ptr<const Image> image, const LogSink& notes);
Result<FileTree> read_jffs2_image(const std::string& path, const LogSink& notes);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_JFFS2_SOURCE_H
