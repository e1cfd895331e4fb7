// SPDX-License-Identifier: BSD-3-Clause
#ifndef UNIONFS_OVERLAY_CHECKPOINT_INODE_QUEUE_H
#define UNIONFS_OVERLAY_CHECKPOINT_INODE_QUEUE_H

#include <deque>
#include <set>

#include "fsparse/numbers.h"

namespace unionfs {

// Inodes that are to become the layer's own, or to be formed anew; each passes
// once, in the order in which they came.  Not thread-safe.
class InodeQueue {
 public:
  void add(InodeNumber inode) {
    if (seen_.insert(inode).second) {
      waiting_.push_back(inode);
    }
  }
  bool empty() const { return waiting_.empty(); }
  InodeNumber take() {
    const InodeNumber inode = waiting_.front();
    waiting_.pop_front();
    return inode;
  }
  // Whether the inode was ever added.
  bool has_seen(InodeNumber inode) const { return seen_.contains(inode); }

 private:
  std::deque<InodeNumber> waiting_;
  std::set<InodeNumber> seen_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_INODE_QUEUE_H
