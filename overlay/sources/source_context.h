// SPDX-License-Identifier: BSD-3-Clause
//
// What every source of files is read with: where contents are kept meanwhile, how much is taken
// at most, and who is told.
#ifndef UNIONFS_OVERLAY_SOURCES_SOURCE_CONTEXT_H
#define UNIONFS_OVERLAY_SOURCES_SOURCE_CONTEXT_H

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "overlay/host/log.h"
#include "overlay/host/posix_file.h"
#include "overlay/tree/file_bytes.h"

namespace unionfs {

// Sources come from anywhere, and a few bytes of one can stand for terabytes.  What exceeds one
// of these is refused with a message that names it.  The counts are of one SourceContext, so all
// layers of an image share them.
struct SourceLimits {
  uint64_t entries = uint64_t{4} << 20;          // names; each takes about 500 bytes of memory
  uint64_t content_bytes = uint64_t{1} << 40;    // stored bytes of all regular files
  uint64_t unpacked_bytes = uint64_t{2} << 40;   // of all archives, behind their compression
  uint64_t file_bytes = uint64_t{1} << 44;       // the size of one file, with its holes
  uint64_t stored_ranges = uint64_t{16} << 20;   // of sparse files; each takes 16 bytes of memory
  uint64_t attribute_bytes = uint64_t{1} << 30;  // names and values of all extended attributes
  size_t name_bytes = 255;                       // ext2's
  size_t path_bytes = 4095;                      // Linux's PATH_MAX, without the zero
  size_t target_bytes = 4095;                    // of a symlink
  size_t attribute_value_bytes = 65536;          // Linux's XATTR_SIZE_MAX
  size_t file_attribute_bytes = 1 << 18;         // names and values of one file's
  size_t file_attributes = 4096;                 // of one file
  size_t json_bytes = 4 << 20;                   // of one index, manifest or configuration
  size_t layers = 1024;                          // of one image
};

// Contents of regular files that have no lasting place of their own, one behind the other in a
// nameless file.  Not thread-safe.
class ContentSpool {
 public:
  // The file lies in `directory`, and is gone when the last one who refers to it is.
  static Result<std::shared_ptr<ContentSpool>> create_in(const std::string& directory);
  // For tests, and for who knows that little comes.
  static Result<std::shared_ptr<ContentSpool>> create_in_memory();

  // An error names the directory.
  Result<void> append(ConstByteSpan bytes);
  // Where the next byte goes.
  uint64_t end() const { return end_; }
  // What was appended from `begin` on, up to now, as the stored ranges of a file.
  std::shared_ptr<FileBytes> content(uint64_t begin, std::vector<ByteRange> data,
                                     uint64_t size_bytes) const;
  // Forgets what lies at and behind `end`, which is at most end().  Nobody may refer to it.
  void forget_from(uint64_t end) { end_ = end; }

 private:
  ContentSpool(std::string place, std::unique_ptr<PosixFile> file)
      : place_(std::move(place)), file_(std::move(file)) {}

  const std::string place_;
  const std::shared_ptr<PosixFile> file_;
  uint64_t end_ = 0;
};

// How much of the limits was used.
struct SourceUse {
  uint64_t entries = 0;
  uint64_t content_bytes = 0;
  uint64_t unpacked_bytes = 0;
  uint64_t stored_ranges = 0;
  uint64_t attribute_bytes = 0;
};

// Not thread-safe.  Trees that were read refer to the spool by themselves.
struct SourceContext {
  std::shared_ptr<ContentSpool> spool;
  SourceLimits limits;
  LogSink warn;  // what was read otherwise than it is written; may be empty
  // Is called with bytes read from the source (of an archive: packed ones) now and then, may be
  // empty.  Its errors end the reading: that is how to cancel it.
  std::function<Result<void>(uint64_t bytes_more)> progress;
  SourceUse used;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_SOURCE_CONTEXT_H
