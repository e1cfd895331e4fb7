// SPDX-License-Identifier: BSD-3-Clause
//
// File-level changes to the merged image: inodes, their blocks and their
// attributes.  Numbers are allocated by libext2fs; names are DirectoryEditor's.
#ifndef UNIONFS_OVERLAY_CHANGES_MERGED_FILES_H
#define UNIONFS_OVERLAY_CHANGES_MERGED_FILES_H

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/volume.h"
#include "fsparse/xattr.h"
#include "overlay/changes/ext2_io_manager.h"
#include "overlay/changes/plan.h"
#include "overlay/disk.h"
#include "overlay/merged/merged_image.h"

namespace unionfs {

// One user, one thread.
class MergedFiles {
 public:
  // The disk must be open for writing and outlive this.
  // `now`: see MergedExt2::open().
  static Result<std::unique_ptr<MergedFiles>> open(Disk& disk, uint32_t now);

  // The merged image as it is now, but for counters, bitmaps and features.
  const Volume& volume() const { return *volume_; }
  const Layout& layout() const { return volume_->layout(); }
  Disk& disk() { return disk_; }

  // ---- inodes
  bool is_inode_used(InodeNumber inode) const;
  // A number near `parent`; the record must be written by write_inode().
  Result<InodeNumber> allocate_inode(InodeNumber parent, uint16_t mode);
  // An empty record of the image's inode size, of another generation than what had
  // the number last.
  Result<InodeRecord> make_record(InodeNumber number) const;
  Result<InodeRecord> read_inode(InodeNumber number) const;
  Result<void> write_inode(const InodeRecord& record);
  // Takes one name away from an inode that is not a directory; with the last
  // one it and its blocks become free.
  Result<void> drop_link(InodeNumber inode);
  // Frees an inode and its blocks, whatever its names are.
  Result<void> free_file(const InodeRecord& file);

  // ---- blocks
  Result<BlockNumber> allocate_block(BlockNumber goal);
  BlockNumber goal_for(InodeNumber inode) const;
  // `owner` has no pointer to it any more.
  Result<void> free_block(InodeNumber owner, BlockNumber block);
  // Gives the directory a block behind its last, with these bytes; i_size is
  // raised, and i_blocks.
  Result<void> append_block(InodeNumber directory, uint64_t index, ConstByteSpan bytes);
  // Leaves the directory its first `block_count` blocks.
  Result<void> cut_directory(InodeNumber directory, uint64_t block_count);

  // ---- attributes
  // Makes these, and no others, the attributes of an inode that was written.
  Result<void> set_attributes(InodeNumber inode, const std::vector<Attribute>& attributes);

  // ---- features
  void need_large_files();

  // ---- what people set of the image itself
  // kInvalid for values that an image of this size cannot have.
  Result<void> set_superblock(const PlannedSuperblock& planned);

  // Writes bitmaps and counters.
  Result<void> close() { return ext2_->close(); }

 private:
  explicit MergedFiles(Disk& disk) : disk_(disk), image_("merged image", disk.view()) {}

  void need_attributes();
  Result<void> free_inode(InodeRecord& record);
  Result<void> free_blocks(const InodeRecord& record);
  Result<void> free_attribute_block(const InodeRecord& record);

  Disk& disk_;
  MergedFile image_;
  std::optional<Volume> volume_;
  std::unique_ptr<MergedExt2> ext2_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_MERGED_FILES_H
