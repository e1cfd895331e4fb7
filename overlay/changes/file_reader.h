// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of a regular file, by their offset in it, whatever the block size of its image.
#ifndef UNIONFS_OVERLAY_CHANGES_FILE_READER_H
#define UNIONFS_OVERLAY_CHANGES_FILE_READER_H

#include <optional>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/inode.h"

namespace unionfs {

// Keeps the last block of pointers, so reading forwards reads each of them once.  Not
// thread-safe.  Refers to the image, which must outlive it.
class FileReader {
 public:
  FileReader(const Volume& volume, InodeRecord record)
      : volume_(volume), record_(std::move(record)) {}

  const InodeRecord& record() const { return record_; }
  uint64_t size_bytes() const { return record_.size_bytes(); }

  // Fills the buffer; holes, and what lies behind the end, are zeros.  Whether any block of
  // the file was read.
  Result<bool> read(uint64_t offset, ByteSpan buffer);

 private:
  Result<std::optional<BlockNumber>> block_at(FileBlock block);

  const Volume& volume_;
  const InodeRecord record_;
  std::optional<BlockRole> known_;            // the block of pointers that is kept
  std::vector<ClaimedBlock> known_pointers_;  // empty: a hole
};

// Whether two regular files have the same bytes; `bytes_compared` grows by what was read of
// each.  Sizes are compared first, and holes are not read.
Result<bool> have_same_bytes(FileReader& one, FileReader& other, uint64_t& bytes_compared);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_FILE_READER_H
