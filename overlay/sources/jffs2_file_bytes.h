// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of a regular file of a jffs2 image: those of its nodes, each byte from the newest
// node that has it.
#ifndef UNIONFS_OVERLAY_SOURCES_JFFS2_FILE_BYTES_H
#define UNIONFS_OVERLAY_SOURCES_JFFS2_FILE_BYTES_H

#include <memory>
#include <vector>

#include "overlay/sources/jffs2_nodes.h"
#include "overlay/tree/file_bytes.h"

namespace unionfs::jffs2 {

// Ascending versions; not empty.  kCorrupt for lengths that no kernel writes, kUnsupported for
// an unknown compressor; both name image and inode.  Null: the file is empty.
Result<std::shared_ptr<FileBytes>> bytes_of_nodes(std::shared_ptr<const Image> image,
                                                  uint32_t inode,
                                                  const std::vector<InodeNode>& nodes);

// All bytes of one node, as of a symlink or a device; at most `most_bytes`.
Result<std::vector<std::byte>> data_of_node(const Image& image, uint32_t inode,
                                            const InodeNode& node, uint32_t most_bytes);

}  // namespace unionfs::jffs2

#endif  // UNIONFS_OVERLAY_SOURCES_JFFS2_FILE_BYTES_H
