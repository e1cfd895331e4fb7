// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/digest.h"

#include "fsparse/printable.h"

#include <openssl/evp.h>

#include <array>

namespace unionfs {

void DigestOutput::FreeContext::operator()(evp_md_ctx_st* context) const {
  ::EVP_MD_CTX_free(context);
}

DigestOutput::DigestOutput(OutputStream* out)
    : out_(out),
      context_(::EVP_MD_CTX_new()),
      is_sound_(context_ && ::EVP_DigestInit_ex(context_.get(), ::EVP_sha256(), nullptr) == 1) {}

Result<void> DigestOutput::add(ConstByteSpan bytes) {
  is_sound_ = is_sound_ && ::EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1;
  length_ += bytes.size();
  return out_ != nullptr ? out_->add(bytes) : Result<void>();
}

Result<std::string> DigestOutput::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest = {};
  unsigned length = 0;
  if (!is_sound_ || ::EVP_DigestFinal_ex(context_.get(), digest.data(), &length) != 1) {
    return system_failure(ENOMEM, "libcrypto cannot compute a SHA-256");
  }
  return hex_text(std::span(digest).first(length));
}

}  // namespace unionfs
