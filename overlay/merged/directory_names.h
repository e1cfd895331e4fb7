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
#include "overlay/merged/name_tables.h"

namespace unionfs {

// One thread.  Refers to the tables and their volume.
class DirectoryNames {
 public:
  // kCorrupt if the inode is no directory of this image.
  static Result<DirectoryNames> open(const NameTables& tables, InodeNumber directory,
                                     BlockNumber block, FileBlock file_block);

  // Looks at the place of `wanted` in the block first.  Only a name that has moved since
  // is looked up by its hash or, without an index, in the directory's table.
  Result<std::optional<FoundName>> find(const EntryView& wanted);

 private:
  DirectoryNames(const NameTables& tables, InodeRecord record, BlockNumber block)
      : tables_(&tables), record_(std::move(record)), block_(block) {}

  std::optional<FoundName> find_at_place(const EntryView& wanted);

  const Volume& volume() const { return tables_->volume(); }

  const NameTables* tables_;
  InodeRecord record_;
  BlockNumber block_;
  std::vector<std::byte> bytes_;  // of the block, if it is this directory's too; else empty
  std::optional<DirectoryCursor> cursor_;
  uint32_t cursor_end_ = 0;                 // where the cursor is in the block
  std::shared_ptr<const NameTable> table_;  // of the directory, once it was needed
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_DIRECTORY_NAMES_H
