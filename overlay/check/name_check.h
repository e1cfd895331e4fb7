// SPDX-License-Identifier: BSD-3-Clause
//
// The fourth stage of a check: the own directories, from the root on.  Every
// entry is real, whiteout or fallthru as the format defines it, and every own
// inode is reached under all its names.  It gives the numbers of links.
#ifndef UNIONFS_OVERLAY_CHECK_NAME_CHECK_H
#define UNIONFS_OVERLAY_CHECK_NAME_CHECK_H

#include <map>

#include "overlay/check/inode_check.h"

namespace unionfs {

struct LinkCounts {
  uint32_t in_layer = 0;   // i_links_count of the own inode
  uint32_t in_merged = 0;  // of the merged one: directories that fall through count, too
};

// Own inodes that no name reaches have none.
using LinksByInode = std::map<InodeNumber, LinkCounts>;

Result<LinksByInode> check_names(const CheckSources& sources, const LayerNumbers& numbers,
                                 const OwnFiles& files, LowerSide& lower, Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_NAME_CHECK_H
