// SPDX-License-Identifier: BSD-3-Clause
//
// The lower as a check asks it: which numbers are used, and the names.
#ifndef UNIONFS_OVERLAY_CHECK_LOWER_SIDE_H
#define UNIONFS_OVERLAY_CHECK_LOWER_SIDE_H

#include <string_view>

#include "fsparse/block_map.h"
#include "overlay/changes/lower_names.h"
#include "overlay/geometry/number_sets.h"

namespace unionfs {

// The error of a damaged lower is one of the request, not one of the upper:
// nobody can say what an upper should be over such a lower.
Error damaged_lower(Error error);
template <typename T>
Result<T> of_lower(Result<T> result) {
  if (!result && result.error().kind == ErrorKind::kCorrupt) {
    return Failure(damaged_lower(std::move(result).error()));
  }
  return result;
}

// Every error is the host's or one of a damaged lower.
//
// Reads each bitmap and each directory once, when it is first asked for.  Not
// thread-safe.  Refers to the volume, which must outlive it.
class LowerSide {
 public:
  explicit LowerSide(const Volume& volume) : volume_(volume), used_(volume), names_(volume) {}

  const Layout& layout() const { return volume_.layout(); }

  Result<bool> is_used(BlockNumber block) { return used_.is_used(block); }
  Result<bool> is_used(InodeNumber inode) { return used_.is_used(inode); }
  // Whether the inode is free, but its slot has bytes all the same.
  Result<bool> has_remains(InodeNumber inode);
  Result<InodeRecord> inode(InodeNumber inode) const {
    return of_lower(read_inode(volume_, inode));
  }
  // The visitor gives no error of its own.
  Result<void> walk_blocks(const InodeRecord& inode, const BlockVisitor& visitor) const {
    return of_lower(walk_block_map(volume_, inode, visitor));
  }
  // Fails if the block map of this inode is damaged, or has a block that the
  // lower's bitmap calls free.  Of a free inode there is nothing to say.
  Result<void> check_blocks(InodeNumber inode);
  // The names of the directory of that number; nullptr if there is none in use.
  // They stay where they are while this object lives.
  Result<const LowerNames::Names*> names(InodeNumber directory);
  // Fails if the index of a directory that has this name leads past it: no server finds the
  // name then, nor does a kernel.  Of a directory without a sound index there is nothing to say.
  Result<void> check_index(InodeNumber directory, std::string_view name) const;
  // Of a directory that has names.
  Result<InodeNumber> parent_of(InodeNumber directory) const {
    return of_lower(names_.parent_of(directory));
  }

 private:
  const Volume& volume_;
  UsedNumbers used_;
  LowerNames names_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_LOWER_SIDE_H
