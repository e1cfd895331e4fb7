// SPDX-License-Identifier: BSD-3-Clause
//
// The content of a file as blocks: those that are not all zeros, and a digest that depends on the
// bytes alone.
#ifndef UNIONFS_OVERLAY_BASE_FILE_BLOCKS_H
#define UNIONFS_OVERLAY_BASE_FILE_BLOCKS_H

#include <array>
#include <functional>

#include "fsparse/numbers.h"
#include "overlay/tree/file_bytes.h"
#include "overlay/upper/hash.h"

namespace unionfs {

// Whole blocks that follow one another and of which none is all zeros; what lies behind the end
// of the file is zeros.
using BlockRunVisitor = std::function<Result<void>(FileBlock first, ConstByteSpan blocks)>;

// Visits all blocks of the file but those of zeros, in order, up to a MiB at once; two runs may
// follow each other without a gap.  What the file does not store is not read.
// `buffer` is for what is read; it may be used again for the next file.
Result<void> for_each_block_run(FileBytes& content, uint32_t block_size_bytes,
                                std::vector<std::byte>& buffer, const BlockRunVisitor& visit);

// A digest of a file, to which its blocks are added in order; blocks of zeros may be left out.
// The same for any block size.
class ContentDigest {
 public:
  void add(uint64_t offset, ConstByteSpan blocks);
  std::array<uint8_t, 16> value(uint64_t size_bytes) const;

 private:
  LongHash bytes_;   // of all parts that are not zeros
  LongHash places_;  // where they begin, if not behind the one before
  uint64_t next_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_FILE_BLOCKS_H
