// SPDX-License-Identifier: BSD-3-Clause
//
// Little-endian integers as they lie in an image: alignment 1, so structures
// made of them have no padding and can be laid over any byte.
#ifndef UNIONFS_FSPARSE_LITTLE_ENDIAN_H
#define UNIONFS_FSPARSE_LITTLE_ENDIAN_H

#include <fmt/format.h>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace unionfs {

template <std::unsigned_integral T>
class LittleEndian {
 public:
  LittleEndian() = default;
  constexpr LittleEndian(T value) { *this = value; }  // NOLINT: a field is assigned like an integer

  constexpr operator T() const { return value(); }  // NOLINT
  constexpr T value() const { return swapped(std::bit_cast<T>(bytes_)); }
  constexpr LittleEndian& operator=(T value) {
    bytes_ = std::bit_cast<std::array<std::byte, sizeof(T)>>(swapped(value));
    return *this;
  }

 private:
  static constexpr T swapped(T value) {
    if constexpr (std::endian::native == std::endian::little) {
      return value;
    } else {
      T result = 0;
      for (size_t i = 0; i < sizeof(T); ++i) {
        result = static_cast<T>(result << 8 | (value >> (8 * i) & 0xff));
      }
      return result;
    }
  }

  std::array<std::byte, sizeof(T)> bytes_;
};

using Le16 = LittleEndian<uint16_t>;
using Le32 = LittleEndian<uint32_t>;
using Le64 = LittleEndian<uint64_t>;

static_assert(sizeof(Le32) == 4 && alignof(Le32) == 1);

}  // namespace unionfs

template <typename T>
struct fmt::formatter<unionfs::LittleEndian<T>> : fmt::formatter<T> {
  template <typename Context>
  auto format(unionfs::LittleEndian<T> value, Context& context) const {
    return fmt::formatter<T>::format(value, context);
  }
};

#endif  // UNIONFS_FSPARSE_LITTLE_ENDIAN_H
