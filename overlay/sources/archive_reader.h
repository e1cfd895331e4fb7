// SPDX-License-Identifier: BSD-3-Clause
//
// libarchive over a ByteStream: its handle, its errors.
#ifndef UNIONFS_OVERLAY_SOURCES_ARCHIVE_READER_H
#define UNIONFS_OVERLAY_SOURCES_ARCHIVE_READER_H

#include <archive.h>
#include <locale.h>

#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "overlay/sources/byte_stream.h"

namespace unionfs {

// Not thread-safe.  Refers to the stream, which must outlive it.
class ArchiveReader {
 public:
  enum class Reads {
    kPacked,  // one stream of bytes, through gzip, zstd or xz, or as it is
    kTar,     // a tar archive, not compressed
  };

  static Result<std::unique_ptr<ArchiveReader>> open(ByteStream& stream, Reads reads);
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  archive* handle() const { return handle_; }
  // The reader's, until the next call; nothing: the end.  Names in it are the archive's bytes.
  Result<archive_entry*> next_entry(std::string_view where);
  // What the last call that failed has said: the stream's own error, or libarchive's words.
  Failure failure(std::string_view where) const;

 private:
  explicit ArchiveReader(ByteStream& stream);
  static la_ssize_t read_more(archive* handle, void* self, const void** buffer);

  archive* const handle_;
  const locale_t locale_;
  ByteStream& stream_;
  std::vector<std::byte> buffer_;
  std::optional<Error> stream_error_;
};

// What a stream is when unpacked; one that is not compressed stays as it is.  Refers to stream and
// context.  kUnsupported behind SourceLimits::unpacked_bytes.
Result<std::unique_ptr<ByteStream>> unpack_stream(ByteStream& packed, SourceContext& context);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_ARCHIVE_READER_H
