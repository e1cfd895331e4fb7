// SPDX-License-Identifier: BSD-3-Clause
//
// Pieces of memory.  They are compared by memcmp(): the standard's algorithms take std::byte for a
// class, and go from one byte to the next, which takes many times as long.
#ifndef UNIONFS_FSPARSE_BYTES_H
#define UNIONFS_FSPARSE_BYTES_H

#include <cstddef>
#include <cstring>
#include <span>

namespace unionfs {

using ByteSpan = std::span<std::byte>;
using ConstByteSpan = std::span<const std::byte>;

// Whether they have one length and the same bytes.
inline bool same_bytes(ConstByteSpan one, ConstByteSpan other) {
  return one.size() == other.size() &&
         (one.empty() || std::memcmp(one.data(), other.data(), one.size()) == 0);
}

// Whether there is no other byte than zero.
inline bool all_zeros(ConstByteSpan bytes) {
  // Each byte is as the one before it.
  return bytes.empty() || (bytes.front() == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_BYTES_H
