// SPDX-License-Identifier: BSD-3-Clause
//
// What fsparse reads from: bytes at offsets.  The only way in, so a file, a
// piece of memory, a counting or a failing stand-in all serve.
#ifndef UNIONFS_FSPARSE_IMAGE_H
#define UNIONFS_FSPARSE_IMAGE_H

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "fsparse/bytes.h"
#include "fsparse/result.h"

namespace unionfs {

// Thread-safe: any number of threads may read at once.
class Image {
 public:
  virtual ~Image() = default;

  // How the image is called in messages: its file name as the user gave it.
  virtual const std::string& name() const = 0;
  virtual uint64_t size_bytes() const = 0;

  // Fills the whole of `buffer` from `offset`.  The range must lie inside the
  // image: a read past the end is an error, never a short result.
  virtual Result<void> read(uint64_t offset, ByteSpan buffer) const = 0;
};

// Reads one on-disk structure.
template <typename T>
requires std::is_trivially_copyable_v<T> Result<T> read_structure(const Image& image,
                                                                  uint64_t offset) {
  T structure;
  UNIONFS_TRY(image.read(offset, std::as_writable_bytes(std::span(&structure, 1))));
  return structure;
}

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_IMAGE_H
