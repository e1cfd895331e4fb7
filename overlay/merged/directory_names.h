// SPDX-License-Identifier: BSD-3-Clause
//
// Finds names in one directory of one image, for who has a block that was made
// from this directory's block of the same number.
#ifndef UNIONFS_OVERLAY_MERGED_DIRECTORY_NAMES_H
#define UNIONFS_OVERLAY_MERGED_DIRECTORY_NAMES_H

#include <optional>
#include <string>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "fsparse/volume.h"

namespace unionfs {

// What an entry of the directory says, of whatever kind but free space.
struct FoundName {
  InodeNumber inode;  // 0 unless kReal
  uint8_t file_type = 0;
  EntryKind kind = EntryKind::kReal;
};

// One thread.  Refers to the volume.
class DirectoryNames {
 public:
  // kCorrupt if the inode is no directory of this image.
  static Result<DirectoryNames> open(const Volume& volume, InodeNumber directory, BlockNumber block,
                                     FileBlock file_block);

  // Looks at the place of `wanted` in the block first.  Only a name that has moved since
  // is looked up by its hash or, without an index, by going through the directory.
  Result<std::optional<FoundName>> find(const EntryView& wanted);

 private:
  DirectoryNames(const Volume& volume, InodeRecord record, BlockNumber block)
      : volume_(&volume), record_(std::move(record)), block_(block) {}

  std::optional<FoundName> find_at_place(const EntryView& wanted);

  const Volume* volume_;
  InodeRecord record_;
  BlockNumber block_;
  std::vector<std::byte> bytes_;  // of the block, if it is this directory's too; else empty
  std::optional<DirectoryCursor> cursor_;
  uint32_t cursor_end_ = 0;  // where the cursor is in the block
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_DIRECTORY_NAMES_H
