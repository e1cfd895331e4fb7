// SPDX-License-Identifier: BSD-3-Clause
//
// The one seam to the host: everything the overlay does to a file goes through
// here, so memory, faulty and crash-recording files can stand in for it.
#ifndef UNIONFS_OVERLAY_HOST_FILE_H
#define UNIONFS_OVERLAY_HOST_FILE_H

#include <cstdint>
#include <memory>

#include "fsparse/image.h"

namespace unionfs {

// Memory that shows a part of a file and outlives the process that wrote it:
// stores are seen by whoever opens the file next, but reach the disk only when
// the host writes them back.  Unmapped when destroyed.
class MappedRegion {
 public:
  virtual ~MappedRegion() = default;
  virtual ByteSpan bytes() = 0;
};

// A stretch of a file that is all hole or all data.
struct FileExtent {
  bool is_hole = false;
  uint64_t end = 0;  // offset of its first byte past the end
};

// Thread-safe: any number of threads may call any of the methods at once;
// overlapping writes leave either's bytes, per sector.
class File : public Image {
 public:
  // Reads the longest prefix that needs no waiting for a disk; returns its
  // length in bytes, 0 when nothing is at hand or the file cannot tell.
  virtual size_t read_cached(uint64_t offset, ByteSpan buffer) const = 0;
  // For batched reads; -1 when the file is not one of the host's.
  virtual int descriptor() const = 0;
  // The extent that holds `offset` (< size); all data when the file cannot tell.
  virtual FileExtent extent_at(uint64_t offset) const = 0;
  // Tells the host that this range will be read soon.
  virtual void prefetch(uint64_t offset, uint64_t length) const = 0;

  virtual Result<void> write(uint64_t offset, ConstByteSpan bytes) = 0;
  // Makes the range read as zeros.  punch() gives its space back, zero_range()
  // keeps it allocated.  kSystem with EOPNOTSUPP when the host cannot.
  virtual Result<void> punch(uint64_t offset, uint64_t length) = 0;
  virtual Result<void> zero_range(uint64_t offset, uint64_t length) = 0;
  // Reserves space, so that a later write into the range cannot fail for want
  // of it.  Does not change what it reads as.
  virtual Result<void> allocate(uint64_t offset, uint64_t length) = 0;
  virtual Result<void> resize(uint64_t size_bytes) = 0;
  // Everything written before the call survives power loss after it returns.
  virtual Result<void> sync() = 0;
  // Shows [offset, offset + length) as memory; both multiples of 4096.
  virtual Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_FILE_H
