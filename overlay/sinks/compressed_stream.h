// SPDX-License-Identifier: BSD-3-Clause
//
// gzip and zstd, so that the same bytes become the same bytes with the same library.
#ifndef UNIONFS_OVERLAY_SINKS_COMPRESSED_STREAM_H
#define UNIONFS_OVERLAY_SINKS_COMPRESSED_STREAM_H

#include <memory>
#include <string>

#include "overlay/sinks/archive_handle.h"

namespace unionfs {

enum class Compression { kNone, kGzip, kZstd };

// What has made the bytes: library, version and level; empty of kNone.  Other versions may make
// others.
std::string compression_maker(Compression compression);

// Not thread-safe.  Refers to the stream.
class CompressedStream final : public OutputStream {
 public:
  static Result<std::unique_ptr<CompressedStream>> open(OutputStream& out, Compression compression);
  ~CompressedStream() override;

  Result<void> add(ConstByteSpan bytes) override;
  // After the last byte.
  Result<void> end();

 private:
  class PlainHeader;

  CompressedStream();

  std::unique_ptr<PlainHeader> header_;
  std::unique_ptr<ArchiveHandle> archive_;  // none: not compressed
  OutputStream* out_ = nullptr;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_COMPRESSED_STREAM_H
