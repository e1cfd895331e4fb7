// SPDX-License-Identifier: BSD-3-Clause
//
// The seam to the bytes of lowers and uppers.  The overlay reads and changes
// their files through these interfaces alone, so that memory, faulty and
// crash-recording files can stand in for the host's.
//
// Offsets and lengths are in bytes.  An error names the file.  Whoever takes a
// file by reference keeps the reference, and does not own the file: it must
// outlive the one who took it.
#ifndef UNIONFS_OVERLAY_HOST_FILE_H
#define UNIONFS_OVERLAY_HOST_FILE_H

#include <cstdint>
#include <memory>
#include <span>

#include "fsparse/image.h"

namespace unionfs {

// A stretch of a file that is all hole or all data.
struct FileExtent {
  bool is_hole = false;
  uint64_t end = 0;  // offset of its first byte past the end
};

// Which file of the host it is.  A copy of a file has another one, and so has a file
// that takes the inode number of one that is gone.  All zero for what is no file of the host.
struct FileIdentity {
  uint64_t device = 0;             // of the mounted file system
  uint64_t inode = 0;              // of the host's file system
  uint64_t birth_nanoseconds = 0;  // since 1970; 0 if the file system does not tell

  bool operator==(const FileIdentity&) const = default;
};

class ReadableFile;

// Bytes that are to be read.  Neither the file nor the buffer is owned.
struct ReadRange {
  const ReadableFile* file = nullptr;
  uint64_t offset = 0;
  ByteSpan buffer;

  // Past `count` bytes that were read.
  void advance(size_t count) {
    offset += count;
    buffer = buffer.subspan(count);
  }
};

// Reads that were begun and may not be over yet.  Not thread-safe.
class PendingReads {
 public:
  // Waits, if finish() has not.  From then on nobody touches the buffers.
  virtual ~PendingReads() = default;
  // Waits until every read is over, also after an error, and returns an error
  // if there was one.  To be called at most once.
  virtual Result<void> finish() = 0;
};

// A file whose bytes can be read, and perhaps changed by somebody else
// meanwhile.  The methods that have a body here are about speed: the body is
// right for every file, and a file that knows better overrides it.
//
// Safe for concurrent use by multiple threads.
class ReadableFile : public Image {
 public:
  // Reads the longest prefix of `buffer` that needs no waiting for a disk or a
  // network.  Returns its length, 0 when nothing is at hand.  Never fails: an
  // error shows when the rest is read.
  virtual size_t read_cached(uint64_t /*offset*/, ByteSpan /*buffer*/) const { return 0; }
  // The same of several ranges, all of this file, in the order of their offsets and without
  // overlap. Each is advanced past what was read.  A file may leave out what is behind a range that
  // is not at hand.
  virtual void read_cached_ranges(std::span<ReadRange> ranges) const;
  // How a BatchReader reads the file.  One of the host's has a descriptor, which
  // goes to a ring; the file keeps it, and closes it when it is destroyed.  Any
  // other, for which descriptor() is -1, may begin the reads and let them be
  // waited for; the ranges, all of this file, and their buffers must outlive
  // what begin_reads() returns.  Where it returns nullptr, the ranges are
  // read() one after another.
  virtual int descriptor() const { return -1; }
  virtual std::unique_ptr<PendingReads> begin_reads(std::span<const ReadRange> /*ranges*/) const {
    return nullptr;
  }
  // The extent that holds `offset`, which is below the size.  A file that cannot
  // tell is all data.
  virtual FileExtent extent_at(uint64_t /*offset*/) const { return {false, size_bytes()}; }
  // The same for as long as the host runs and its file system stays mounted.
  virtual FileIdentity identity() const { return {}; }
  // Fails with EIO once the file is known to be another one than when it was opened.  Only for
  // files that can change without our doing.  Returns at once.
  virtual Result<void> check_not_replaced() const { return {}; }
  // The same after a look at it now.  May wait.
  virtual Result<void> check_same() const { return {}; }
  // Says that the range will be read soon.  Returns at once.
  virtual void prefetch(uint64_t /*offset*/, uint64_t /*length*/) const {}
};

inline void ReadableFile::read_cached_ranges(std::span<ReadRange> ranges) const {
  for (ReadRange& range : ranges) {
    range.advance(read_cached(range.offset, range.buffer));
  }
}

// Something that takes bytes at offsets: a file, or changes that are not made
// yet.
class ByteSink {
 public:
  virtual Result<void> write(uint64_t offset, ConstByteSpan bytes) = 0;

 protected:
  ~ByteSink() = default;
};

// Memory that shows a part of a file.  What is stored there is seen at once by
// whoever reads the file, and outlives the process; it reaches the disk when
// the host writes it back, or with a sync.
//
// The region is unmapped when it is destroyed, which must be before the file is
// made shorter or destroyed.
class MappedRegion {
 public:
  virtual ~MappedRegion() = default;
  // Safe for concurrent use by multiple threads, but the bytes are plain memory:
  // those who share them must order their loads and stores.
  virtual ByteSpan bytes() = 0;
};

// A file whose bytes, space and size can be changed.  Ranges must lie inside the
// file.
//
// Safe for concurrent use by multiple threads, but for resize(), which must not
// run beside any other method.  Where two writes overlap, each sector of the
// file has the bytes of the one or of the other.
class WritableFile : public ReadableFile, public ByteSink {
 public:
  // A reader sees the bytes when the call returns.  After an error the range may
  // hold a part of them.
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override = 0;
  // Makes the range read as zeros.  punch() gives its space back, zero_range()
  // keeps or takes space for it.  kSystem with EOPNOTSUPP, and no byte changed,
  // when the host cannot do it.
  virtual Result<void> punch(uint64_t offset, uint64_t length) = 0;
  virtual Result<void> zero_range(uint64_t offset, uint64_t length) = 0;
  // Takes space for the range, so that a later write into it cannot fail for
  // want of it.  What the range reads as stays.
  virtual Result<void> allocate(uint64_t offset, uint64_t length) = 0;
  // Bytes that the file gains read as zeros.
  virtual Result<void> resize(uint64_t size_bytes) = 0;
  // What was written before the call survives a power loss after it returns.
  // After an error nobody can say what does.
  virtual Result<void> sync() = 0;
  // Whether a store into a mapped page that has its space never needs more.  Where the host
  // copies on write it may, and then ends the process if there is none.
  virtual bool overwrites_in_place() const { return false; }
  // Shows [offset, offset + length) as memory; both are multiples of 4096.
  virtual Result<std::unique_ptr<MappedRegion>> map(uint64_t offset, uint64_t length) = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_FILE_H
