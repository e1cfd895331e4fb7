// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/checked_stream.h"

#include "fsparse/printable.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace unionfs {
namespace {

struct DigestAlgorithm {
  std::string_view name;
  size_t bytes;
  const EVP_MD* (*make)();
};
constexpr std::array kDigestAlgorithms = {DigestAlgorithm{"sha256", 32, EVP_sha256},
                                          DigestAlgorithm{"sha512", 64, EVP_sha512}};

const DigestAlgorithm* find_algorithm(std::string_view name) {
  const auto found = std::ranges::find(kDigestAlgorithms, name, &DigestAlgorithm::name);
  return found == kDigestAlgorithms.end() ? nullptr : &*found;
}

}  // namespace

Result<BlobDigest> parse_digest(std::string_view text, std::string_view where) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    return corrupt("{}: {} is no digest", where, quoted_name(text));
  }
  const DigestAlgorithm* algorithm = find_algorithm(text.substr(0, colon));
  if (algorithm == nullptr) {
    return unsupported("{}: {} is a digest of an unknown kind", where, quoted_name(text));
  }
  const std::string_view digits = text.substr(colon + 1);
  if (digits.size() != 2 * algorithm->bytes ||
      digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    return corrupt("{}: {} is no digest", where, quoted_name(text));
  }
  return BlobDigest{std::string(algorithm->name), std::string(digits)};
}

CheckedStream::CheckedStream(ByteStream& stream, BlobDigest digest,
                             std::optional<uint64_t> size_bytes)
    : stream_(stream),
      digest_(std::move(digest)),
      size_bytes_(size_bytes),
      context_(EVP_MD_CTX_new()) {
  const DigestAlgorithm* algorithm = find_algorithm(digest_.algorithm);
  if (algorithm == nullptr || context_ == nullptr ||
      EVP_DigestInit_ex(context_.get(), algorithm->make(), nullptr) != 1) {
    context_.reset();
  }
}

CheckedStream::~CheckedStream() = default;

void CheckedStream::FreeContext::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Result<size_t> CheckedStream::read(ByteSpan buffer) {
  UNIONFS_ASSIGN(const size_t got, stream_.read(buffer));
  if (context_ == nullptr || EVP_DigestUpdate(context_.get(), buffer.data(), got) != 1) {
    return system_failure(ENOMEM, fmt::format("{}: cannot compute its digest", name()));
  }
  length_ += got;
  if (size_bytes_ && length_ > *size_bytes_) {
    return corrupt("{}: is longer than the {} bytes it should have", name(), *size_bytes_);
  }
  return got;
}

Result<void> CheckedStream::finish() {
  UNIONFS_TRY(drain_stream(*this));
  if (size_bytes_ && length_ != *size_bytes_) {
    return corrupt("{}: has {} bytes, and should have {}", name(), length_, *size_bytes_);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context_.get(), bytes.data(), &length) != 1) {
    return system_failure(ENOMEM, fmt::format("{}: cannot compute its digest", name()));
  }
  const std::string found = hex_text(std::span(bytes).first(length));
  if (found != digest_.hexadecimal) {
    return corrupt("{}: has the digest {}:{}, and should have {}", name(), digest_.algorithm, found,
                   digest_.text());
  }
  return {};
}

}  // namespace unionfs
