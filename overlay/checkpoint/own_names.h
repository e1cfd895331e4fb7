// SPDX-License-Identifier: BSD-3-Clause
//
// Where own inodes are named.  Every own inode is reachable from the root by
// real names, under all its names.  So the directories that name it become own,
// and theirs, up to the root; and a name that cannot fall through makes its inode
// own.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_OWN_NAMES_H
#define UNIONFS_OVERLAY_CHECKPOINT_OWN_NAMES_H

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "overlay/checkpoint/inode_queue.h"
#include "overlay/checkpoint/own_blocks.h"

namespace unionfs {

using OwnInodes = std::map<InodeNumber, OwnInode>;

// The names in the directories that were looked at.
struct OwnNames {
  std::map<InodeNumber, uint32_t> counts;  // names of each inode, without "." and ".."
  // A directory, and an inode that may be a directory and that it names as the
  // lower directory of the same number does.
  std::set<std::pair<InodeNumber, InodeNumber>> same_as_below;
  // For names of inodes that lacked one, apart from those that the hints name.
  uint64_t directories_searched = 0;
};

// Looks at the names of a directory that is going to be formed, and queues the
// inodes that must become own for it.
Result<void> scan_names(const LayerSources& from, const InodeRecord& directory,
                        const LayerSets& sets, OwnNames& names, InodeQueue& queue);

// Own inodes that were not own before and lack names among those found.  Those that
// were own before had all their names, and a directory that gained or lost one
// has changed.
Result<std::set<InodeNumber>> find_nameless(const LayerSources& from, const OwnInodes& inodes,
                                            const OwnNames& names);

// Queues directories that name one of the `wanted` inodes, of which there is at
// least one.  An error if there are none.  Those that the hints name come first.  A file
// mostly lies in the group of its directory, so those groups come next; the search goes
// through all other groups only if they name none.
Result<void> search_names(const LayerSources& from, const OwnInodes& inodes,
                          const std::set<InodeNumber>& wanted, OwnNames& names, InodeQueue& queue);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_OWN_NAMES_H
