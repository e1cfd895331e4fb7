// SPDX-License-Identifier: BSD-3-Clause
//
// What a plan asks of the image that it is made for, against what that image can hold.
#ifndef UNIONFS_OVERLAY_REBASE_LIMITS_H
#define UNIONFS_OVERLAY_REBASE_LIMITS_H

#include <vector>

#include "overlay/changes/plan.h"
#include "overlay/geometry/geometry.h"
#include "overlay/rebase/report.h"

namespace unionfs {

struct FoundLimits {
  std::vector<Conflict> conflicts;  // of class kLimit, ascending by path
  std::vector<RebaseNote> notes;    // "times-rounded", once, if any time is
};

// `theirs` is the image that the plan was made for, `geometry` says what it grows to, with
// what is free then.  Says of one file what it has too much of: size, target, attributes, links, a
// date.  Says of all together (path "") that blocks or inodes do not suffice; blocks are counted
// upward, because it depends on their places how many indirect blocks and directory blocks there
// are. Errors are those of reading, and of plans that cannot be; see plan_tree().
Result<FoundLimits> find_limits(const Plan& plan, const Volume& theirs, const Geometry& geometry);

// How many blocks of this size a file takes at most: `data_blocks` of `file_blocks` are no holes.
uint64_t most_blocks_of_file(uint64_t file_blocks, uint64_t data_blocks,
                             uint32_t pointers_per_block);
// Whether inode and xattr block hold them, as libext2fs puts them there: one after another
// into the record, if there is still room, or else into the block.
struct AttributeRoom {
  bool fits = true;
  bool needs_block = false;
};
AttributeRoom room_for_attributes(const std::vector<Attribute>& attributes, uint32_t inode_bytes,
                                  uint32_t block_bytes);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_LIMITS_H
