// SPDX-License-Identifier: BSD-3-Clause
//
// A stream that is held against the digest and the size that somebody has told of it.
#ifndef UNIONFS_OVERLAY_SOURCES_CHECKED_STREAM_H
#define UNIONFS_OVERLAY_SOURCES_CHECKED_STREAM_H

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "overlay/sources/byte_stream.h"

struct evp_md_ctx_st;

namespace unionfs {

// As OCI's image specification writes it (descriptor.md): "sha256:" or "sha512:", and the bytes in
// hexadecimal, lower case.
struct BlobDigest {
  std::string algorithm;
  std::string hexadecimal;

  std::string text() const { return algorithm + ":" + hexadecimal; }
};

// kCorrupt for what is none, kUnsupported for an unknown algorithm.  `where` begins messages.
Result<BlobDigest> parse_digest(std::string_view text, std::string_view where);

// Passes on what another stream gives.  Refers to it.
class CheckedStream final : public ByteStream {
 public:
  // Without a size any will do.
  CheckedStream(ByteStream& stream, BlobDigest digest, std::optional<uint64_t> size_bytes);
  ~CheckedStream() override;

  const std::string& name() const override { return stream_.name(); }
  // kCorrupt as soon as the stream is longer than it should be.
  Result<size_t> read(ByteSpan buffer) override;
  // Reads the rest.  kCorrupt if it was not what it should be.
  Result<void> finish();

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };

  ByteStream& stream_;
  const BlobDigest digest_;
  const std::optional<uint64_t> size_bytes_;
  std::unique_ptr<evp_md_ctx_st, FreeContext> context_;  // none: out of memory
  uint64_t length_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_CHECKED_STREAM_H
