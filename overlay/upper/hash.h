// SPDX-License-Identifier: BSD-3-Clause
//
// Hashes of bytes that come in pieces, as docs/format.md has them: XXH3-64 for
// checksums, XXH3-128 for what has to be recognized.
#ifndef UNIONFS_OVERLAY_UPPER_HASH_H
#define UNIONFS_OVERLAY_UPPER_HASH_H

#include <xxhash.h>

#include <array>
#include <cstring>
#include <memory>
#include <string_view>

#include "fsparse/image.h"

namespace unionfs {

template <typename T>
ConstByteSpan bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

struct FreeHashState {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};
using HashState = std::unique_ptr<XXH3_state_t, FreeHashState>;

// One thread.
class Hash {
 public:
  Hash() : state_(XXH3_createState()) { XXH3_64bits_reset(state_.get()); }
  void add(ConstByteSpan bytes) { XXH3_64bits_update(state_.get(), bytes.data(), bytes.size()); }
  uint64_t value() const { return XXH3_64bits_digest(state_.get()); }

 private:
  HashState state_;
};

// The same with 128 bits.  One thread.
class LongHash {
 public:
  LongHash() : state_(XXH3_createState()) { XXH3_128bits_reset(state_.get()); }
  void add(ConstByteSpan bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }
  void add(std::string_view word) { add(std::as_bytes(std::span(word))); }
  // Canonical, so the same on every machine.
  std::array<uint8_t, 16> value() const {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
    std::array<uint8_t, 16> bytes;
    static_assert(sizeof(bytes) == sizeof(canonical.digest));
    std::memcpy(bytes.data(), canonical.digest, bytes.size());
    return bytes;
  }

 private:
  HashState state_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_HASH_H
