// SPDX-License-Identifier: BSD-3-Clause
//
// Bits as ext2 keeps them: bit n is bit n % 8 of byte n / 8.  Ranges are half
// open, [begin, end), in bits, and must lie inside the bytes given; that is the
// caller's to know, so it is asserted.  Long runs go 64 bits at a time.
#ifndef UNIONFS_FSPARSE_BITMAP_H
#define UNIONFS_FSPARSE_BITMAP_H

#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace unionfs {

constexpr uint64_t kBitsPerWord = 64;

constexpr bool test_bit(std::span<const std::byte> bits, uint64_t index) {
  assert(index / 8 < bits.size());
  return (bits[index / 8] >> (index % 8) & std::byte{1}) != std::byte{0};
}

constexpr void set_bit(std::span<std::byte> bits, uint64_t index) {
  assert(index / 8 < bits.size());
  bits[index / 8] |= std::byte{1} << (index % 8);
}

constexpr void clear_bit(std::span<std::byte> bits, uint64_t index) {
  assert(index / 8 < bits.size());
  bits[index / 8] &= ~(std::byte{1} << (index % 8));
}

namespace bitmap_detail {

// The bits [begin, end) of one word as a mask; at most 64 of them.
constexpr uint64_t mask(uint64_t begin_in_word, uint64_t bit_count) {
  const uint64_t ones = bit_count == kBitsPerWord ? ~uint64_t{0} : (uint64_t{1} << bit_count) - 1;
  return ones << begin_in_word;
}

// Bytes of the word that begins at byte `first` (fewer than 8 at the end).
constexpr uint64_t bytes_in_word(size_t size_bytes, size_t first) {
  return size_bytes - first < 8 ? size_bytes - first : 8;
}

constexpr uint64_t load_word(std::span<const std::byte> bits, size_t first) {
  uint64_t word = 0;
  if (bits.size() - first >= 8) {  // compiles to one load
    for (size_t i = 0; i < 8; ++i) {
      word |= static_cast<uint64_t>(bits[first + i]) << (8 * i);
    }
    return word;
  }
  for (size_t i = 0; i < bits.size() - first; ++i) {
    word |= static_cast<uint64_t>(bits[first + i]) << (8 * i);
  }
  return word;
}

constexpr void store_word(std::span<std::byte> bits, size_t first, uint64_t word) {
  const size_t count = bytes_in_word(bits.size(), first);
  for (size_t i = 0; i < count; ++i) {
    bits[first + i] = static_cast<std::byte>(word >> (8 * i) & 0xff);
  }
}

// Calls visit(first byte of the word, mask of the range's bits in it) for every
// word that [begin, end) touches, in order, while it returns true.
template <typename Visit>
constexpr void for_each_word(uint64_t begin, uint64_t end, Visit visit) {
  while (begin < end) {
    const uint64_t in_word = begin % kBitsPerWord;
    const uint64_t room = kBitsPerWord - in_word;
    const uint64_t bit_count = end - begin < room ? end - begin : room;
    if (!visit(static_cast<size_t>(begin / kBitsPerWord * 8), mask(in_word, bit_count))) {
      return;
    }
    begin += bit_count;
  }
}

// First bit of [begin, end) that is set once the word is xored with `invert`.
constexpr uint64_t find(std::span<const std::byte> bits, uint64_t begin, uint64_t end,
                        uint64_t invert) {
  assert(begin >= end || (end - 1) / 8 < bits.size());
  uint64_t found = end;
  for_each_word(begin, end, [&](size_t first, uint64_t range_mask) {
    const uint64_t word = (load_word(bits, first) ^ invert) & range_mask;
    if (word == 0) {
      return true;
    }
    found = uint64_t{first} * 8 + static_cast<uint64_t>(std::countr_zero(word));
    return false;
  });
  return found;
}

}  // namespace bitmap_detail

constexpr void set_bits(std::span<std::byte> bits, uint64_t begin, uint64_t end) {
  assert(begin >= end || (end - 1) / 8 < bits.size());
  bitmap_detail::for_each_word(begin, end, [&](size_t first, uint64_t range_mask) {
    bitmap_detail::store_word(bits, first, bitmap_detail::load_word(bits, first) | range_mask);
    return true;
  });
}

constexpr void clear_bits(std::span<std::byte> bits, uint64_t begin, uint64_t end) {
  assert(begin >= end || (end - 1) / 8 < bits.size());
  bitmap_detail::for_each_word(begin, end, [&](size_t first, uint64_t range_mask) {
    bitmap_detail::store_word(bits, first, bitmap_detail::load_word(bits, first) & ~range_mask);
    return true;
  });
}

// How many bits of the range are set.
constexpr uint64_t count_bits(std::span<const std::byte> bits, uint64_t begin, uint64_t end) {
  assert(begin >= end || (end - 1) / 8 < bits.size());
  uint64_t count = 0;
  bitmap_detail::for_each_word(begin, end, [&](size_t first, uint64_t range_mask) {
    count +=
        static_cast<uint64_t>(std::popcount(bitmap_detail::load_word(bits, first) & range_mask));
    return true;
  });
  return count;
}

// The first set (clear) bit of the range; `end` if there is none.
constexpr uint64_t find_set_bit(std::span<const std::byte> bits, uint64_t begin, uint64_t end) {
  return bitmap_detail::find(bits, begin, end, 0);
}

constexpr uint64_t find_clear_bit(std::span<const std::byte> bits, uint64_t begin, uint64_t end) {
  return bitmap_detail::find(bits, begin, end, ~uint64_t{0});
}

// Calls visitor(bit) for each set bit of [0, end), in ascending order; no bytes have no bits. Where
// the visitor answers with a Result<void>, so does this, and an error ends it.
template <typename Visitor>
std::invoke_result_t<Visitor&, uint64_t> for_each_set_bit(std::span<const std::byte> bits,
                                                          uint64_t end, Visitor&& visitor) {
  using Answer = std::invoke_result_t<Visitor&, uint64_t>;
  const uint64_t last = bits.empty() ? 0 : end;
  for (uint64_t bit = find_set_bit(bits, 0, last); bit < last;
       bit = find_set_bit(bits, bit + 1, last)) {
    if constexpr (std::is_void_v<Answer>) {
      visitor(bit);
    } else if (Answer answer = visitor(bit); !answer) {
      return answer;
    }
  }
  return Answer();
}

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_BITMAP_H
