// SPDX-License-Identifier: BSD-3-Clause
//
// SHA-256 of what passes by, as OCI names blobs.
#ifndef UNIONFS_OVERLAY_SINKS_DIGEST_H
#define UNIONFS_OVERLAY_SINKS_DIGEST_H

#include <memory>
#include <string>

#include "overlay/sinks/output_stream.h"

struct evp_md_ctx_st;  // libcrypto's

namespace unionfs {

// Passes bytes on and computes their digest; nullptr: only the digest.
class DigestOutput final : public OutputStream {
 public:
  explicit DigestOutput(OutputStream* out);

  Result<void> add(ConstByteSpan bytes) override;
  uint64_t length() const { return length_; }
  // 64 hexadecimal digits.  Once, after the last byte.
  Result<std::string> hex();

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };

  OutputStream* const out_;
  std::unique_ptr<evp_md_ctx_st, FreeContext> context_;
  uint64_t length_ = 0;
  bool is_sound_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SINKS_DIGEST_H
