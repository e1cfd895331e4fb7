// SPDX-License-Identifier: BSD-3-Clause
//
// The bytes of one regular file, wherever they are: in an inode of an image, in a file of the
// host, in an archive that was read.  What makes files asks here, so that it does not matter
// where they come from.
#ifndef UNIONFS_OVERLAY_TREE_FILE_BYTES_H
#define UNIONFS_OVERLAY_TREE_FILE_BYTES_H

#include <memory>
#include <optional>
#include <vector>

#include "fsparse/inode.h"
#include "fsparse/volume.h"
#include "overlay/host/file.h"

namespace unionfs {

// Half-open, in bytes.
struct ByteRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  uint64_t length() const { return end - begin; }
  bool operator==(const ByteRange&) const = default;
};

// Says the same as long as what it refers to stays as it is.  Not thread-safe: an
// implementation may keep what it read last.
class FileBytes {
 public:
  virtual ~FileBytes() = default;

  virtual uint64_t size_bytes() const = 0;
  // The first range at or behind `offset` that is stored; what lies between such ranges is
  // zeros, and is not read.  It ends at the end of the file at the latest, and is never empty.
  // None: only zeros follow.
  virtual Result<std::optional<ByteRange>> next_data(uint64_t offset) = 0;
  // Fills the buffer.  What lies behind the end is zeros.  Errors name the file or image.
  virtual Result<void> read(uint64_t offset, ByteSpan buffer) = 0;
};

// A regular file of an ext2 image.  Refers to the image, which must outlive it.
std::unique_ptr<FileBytes> bytes_of_inode(const Volume& image, InodeRecord record);

// A part of a host file; `data` says what of it is stored, ascending, apart and not empty, in
// bytes from the part's beginning.  `begin` is where the first stored byte lies in the file: the
// stored ranges follow one another there without gaps.
std::unique_ptr<FileBytes> bytes_of_spool(std::shared_ptr<const ReadableFile> file, uint64_t begin,
                                          std::vector<ByteRange> data, uint64_t size_bytes);

// A few bytes in memory.
std::unique_ptr<FileBytes> bytes_in_memory(std::vector<std::byte> bytes);

// Whether two files have the same bytes.  Sizes are compared first; what neither stores is not
// read.  `bytes_compared` grows by what was read of each.
Result<bool> have_same_bytes(FileBytes& one, FileBytes& other, uint64_t& bytes_compared);

// Whether some block of the files, which both store, has the same bytes in both.  A block begins
// at a multiple of its size, a power of two of at most 64 KiB.  `bytes_compared` as above.
Result<bool> share_block(FileBytes& one, FileBytes& other, uint32_t block_size_bytes,
                         uint64_t& bytes_compared);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_TREE_FILE_BYTES_H
