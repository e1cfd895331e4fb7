// SPDX-License-Identifier: BSD-3-Clause
//
// A foreign upper: an ext2 image without our mark, made by mke2fs, by a kernel
// with union mounts or by hand.  Its tree means what the classic rules say.
#ifndef UNIONFS_OVERLAY_CHANGES_FOREIGN_TREE_H
#define UNIONFS_OVERLAY_CHANGES_FOREIGN_TREE_H

#include <string>
#include <vector>

#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {

struct ForeignName {
  std::string name;
  EntryKind kind = EntryKind::kReal;  // kReal, kWhiteout or kFallthru
  InodeNumber inode;                  // 0 unless kReal
};

// Immutable; thread-safe.  Refers to the image, which must outlive it.
class ForeignTree {
 public:
  // Whether the image is an ext2 image without our mark.  An error if it is
  // none at all, or one of ours whose mark was lost.
  static Result<bool> is_foreign(const Image& image);
  static Result<ForeignTree> open(const Image& image);

  const Volume& volume() const { return volume_; }
  const std::string& name() const { return volume_.name(); }
  // Inodes in use beside the reserved ones, by the superblock's counters.
  uint64_t used_inode_count() const;
  // Blocks that files have, by the superblock's counters; never too low in an
  // image that e2fsck finds clean.
  uint64_t used_block_count() const;

  // Whether its superblock has the whiteout feature, which only an upper has.
  bool has_whiteout_feature() const;
  // Nothing in it but an empty lost+found: as mke2fs makes it.
  Result<bool> is_empty() const;
  // All names but "." and "..", in the order they lie.  An error if one comes
  // twice.
  Result<std::vector<ForeignName>> read_names(const InodeRecord& directory) const;

 private:
  Result<bool> is_as_made(const InodeRecord& directory, uint16_t mode) const;

  explicit ForeignTree(Volume volume) : volume_(std::move(volume)) {}

  Volume volume_;
};

// Where overlayfs has left marks of its own in the image: "inode 12 is a character device
// 0/0, inode 13 has an attribute that begins with trusted.overlay."; empty if nowhere.  What cannot
// be read is passed over.  Costs reading all inodes in use where there are none.
std::string find_overlayfs_marks(const ForeignTree& tree);

// How large the merged image becomes if the user names no size: the lower's and
// the upper's sizes together, and more where the upper's files, in the lower's
// blocks and with its share of inodes, would not leave as much free as the
// upper has.
Result<uint64_t> foreign_merged_size(const Volume& lower, const ForeignTree& tree);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_FOREIGN_TREE_H
