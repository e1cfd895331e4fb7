// SPDX-License-Identifier: BSD-3-Clause
//
// Digests of what the lower has, and a layer over it depends on.  They leave out what
// a mere mount changes.
//
// A level of a stack is seen here as the ext2 image that it is, so a layer over a
// layer can have the same records.
#ifndef UNIONFS_OVERLAY_UPPER_LOWER_DIGEST_H
#define UNIONFS_OVERLAY_UPPER_LOWER_DIGEST_H

#include <atomic>

#include "fsparse/inode.h"
#include "overlay/geometry/group_bits.h"
#include "overlay/upper/lower_records.h"

namespace unionfs {

// What a layer owns and whites out, numbered within the merged groups.
struct LayerBits {
  const GroupBits& own_blocks;
  const GroupBits& own_inodes;
  const GroupBits& block_whiteouts;
  const GroupBits& inode_whiteouts;

  // upper_format::kLowerInode...; 0 for an inode that the layer says nothing of.
  uint32_t flags_of(const Layout& lower, InodeNumber inode) const;
  // Whether the layer says nothing of the block either.
  bool falls_through(const Layout& lower, BlockNumber block) const;
  // Whether anything of the group is own or whited out.
  bool touches(GroupNumber group) const;
};

// Thread-safe.  Refers to all of it.  Where the lower is damaged there is a digest
// all the same, of what comes before the damage: whether a damaged lower can be
// served is not decided here.  Other errors are the host's, or ECANCELED.
class LowerDigests {
 public:
  LowerDigests(const Volume& lower, const LayerBits& bits, const std::atomic<bool>& is_cancelled)
      : lower_(lower), bits_(bits), is_cancelled_(is_cancelled) {}

  // Reads the slot and the indirect blocks; of a directory also its blocks; of a file
  // that is own and not whited out, at most 1 MiB or 64 blocks that fall through.
  Result<LowerInode> of(InodeNumber inode) const;
  // Whether of() of this regular file, own and not whited out, has all blocks that fall through
  // in its content, and no mere sample of them.  False where the lower is damaged.
  Result<bool> covers_content(InodeNumber inode) const;
  Result<LowerGroup> of(GroupNumber group) const;
  Result<LowerXattr> of(BlockNumber xattr_block) const;

  // About how many bytes of() reads of the inode: by its size, which need not be true.
  Result<uint64_t> cost_bytes(InodeNumber inode) const;

 private:
  Result<Digest> names_of(const InodeRecord& directory) const;

  const Volume& lower_;
  const LayerBits bits_;
  const std::atomic<bool>& is_cancelled_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LOWER_DIGEST_H
