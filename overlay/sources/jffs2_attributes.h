// SPDX-License-Identifier: BSD-3-Clause
//
// The attributes of a jffs2 image, by inode.
#ifndef UNIONFS_OVERLAY_SOURCES_JFFS2_ATTRIBUTES_H
#define UNIONFS_OVERLAY_SOURCES_JFFS2_ATTRIBUTES_H

#include <vector>

#include "fsparse/xattr.h"
#include "overlay/sources/jffs2_nodes.h"

namespace unionfs::jffs2 {

// Those of one inode as ext2 has them, sorted.  kCorrupt for an ACL that is none, kUnsupported
// for an unknown kind of name; both name image and inode.
Result<std::vector<Attribute>> attributes_of(const Image& image, const Nodes& nodes,
                                             uint32_t inode);

}  // namespace unionfs::jffs2

#endif  // UNIONFS_OVERLAY_SOURCES_JFFS2_ATTRIBUTES_H
