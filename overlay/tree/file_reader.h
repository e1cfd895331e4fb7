// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of a regular file of an ext2 image, by their offset in it, whatever the block size.
#ifndef UNIONFS_OVERLAY_TREE_FILE_READER_H
#define UNIONFS_OVERLAY_TREE_FILE_READER_H

#include <optional>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/inode.h"
#include "overlay/tree/file_bytes.h"

namespace unionfs {

// Keeps the last block of pointers, so reading forwards reads and looks at each of them once.
// Refers to the image, which must outlive it.  Stored are the blocks that the inode maps.
class FileReader final : public FileBytes {
 public:
  FileReader(const Volume& volume, InodeRecord record)
      : volume_(volume), record_(std::move(record)) {}

  const InodeRecord& record() const { return record_; }
  uint64_t size_bytes() const override { return record_.size_bytes(); }

  Result<std::optional<ByteRange>> next_data(uint64_t offset) override;
  Result<void> read(uint64_t offset, ByteSpan buffer) override;

 private:
  Result<std::optional<BlockNumber>> block_at(FileBlock block);
  // The first block that a hole's pointer does not lead to: the hole may be of any level.
  Result<FileBlock> behind_hole(FileBlock hole) const;

  const Volume& volume_;
  const InodeRecord record_;
  std::optional<BlockRole> known_;            // the block of pointers that is kept
  std::vector<ClaimedBlock> known_pointers_;  // empty: a hole
  ByteRange known_data_;                      // that next_data() found last
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_TREE_FILE_READER_H
