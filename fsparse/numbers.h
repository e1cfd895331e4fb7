// SPDX-License-Identifier: BSD-3-Clause
//
// The numbers of an ext2 image, each a type of its own so that a block number
// never passes for an inode number, nor what an image says for what there is.  Byte offsets and
// lengths stay plain uint64_t with `_bytes` or `offset` in their names.
#ifndef UNIONFS_FSPARSE_NUMBERS_H
#define UNIONFS_FSPARSE_NUMBERS_H

#include <fmt/format.h>

#include <compare>
#include <concepts>
#include <cstdint>

#include "fsparse/little_endian.h"

namespace unionfs {

// A position in one numbered world, which may index what is kept by its numbers.
// Positions of one world can be compared and subtracted; a count (plain integer)
// can be added to one.
//
// None is made of a field of an image: that is Claimed, until it was checked.
template <typename World, typename Representation>
class Position {
 public:
  using representation = Representation;

  constexpr Position() = default;
  constexpr explicit Position(Representation value) : value_(value) {}
  template <std::unsigned_integral T>
  explicit Position(LittleEndian<T>) = delete;

  constexpr Representation value() const { return value_; }

  constexpr auto operator<=>(const Position&) const = default;
  constexpr Position operator+(Representation count) const { return Position(value_ + count); }
  constexpr Position operator-(Representation count) const { return Position(value_ - count); }
  constexpr Representation operator-(Position other) const { return value_ - other.value_; }
  constexpr Position& operator++() {
    ++value_;
    return *this;
  }
  constexpr Position& operator+=(Representation count) {
    value_ += count;
    return *this;
  }

 private:
  Representation value_ = 0;
};

// A block of the image: 0 .. s_blocks_count - 1.  Block 0 is never a file's.
// 64 bits wide so that ends of ranges (s_blocks_count <= 2^32 - 1) and sums
// cannot wrap; a valid number always fits in 32 bits.
using BlockNumber = Position<struct BlockWorld, uint64_t>;
// An inode: 1 .. s_inodes_count.
using InodeNumber = Position<struct InodeWorld, uint32_t>;
// A block group: 0 .. group count - 1.
using GroupNumber = Position<struct GroupWorld, uint32_t>;
// A block of one file, counted from the file's start.
using FileBlock = Position<struct FileBlockWorld, uint64_t>;

// The number of a position as an image gives it.  Nobody knows whether there is
// such a position.  So it can be looked at, compared, printed and written, but it
// indexes nothing: Layout::block(), inode() and group() tell, and what needs more
// than a place inside the image (check_pointer(), DirectoryCursor) begins with them.
template <typename World>
class Claimed {
 public:
  constexpr Claimed() = default;
  constexpr explicit Claimed(uint32_t value) : value_(value) {}

  constexpr uint32_t value() const { return value_; }
  // Whether it says that there is none: a hole, no attributes, a free entry.
  constexpr bool is_none() const { return value_ == 0; }

  constexpr auto operator<=>(const Claimed&) const = default;
  constexpr bool operator==(const Claimed&) const = default;
  template <typename Representation>
  constexpr bool operator==(Position<World, Representation> position) const {
    return value_ == position.value();
  }

 private:
  uint32_t value_ = 0;
};

using ClaimedBlock = Claimed<struct BlockWorld>;
using ClaimedInode = Claimed<struct InodeWorld>;
using ClaimedGroup = Claimed<struct GroupWorld>;

// Half-open range [begin, end) of blocks.
struct BlockRange {
  BlockNumber begin;
  BlockNumber end;

  constexpr uint64_t count() const { return end - begin; }
  constexpr bool empty() const { return begin == end; }
  constexpr bool contains(BlockNumber block) const { return block >= begin && block < end; }
  constexpr bool operator==(const BlockRange&) const = default;
};

// Half-open range [begin, end) of inodes.
struct InodeRange {
  InodeNumber begin;
  InodeNumber end;

  constexpr uint32_t count() const { return end - begin; }
  constexpr bool operator==(const InodeRange&) const = default;
};

constexpr uint64_t divide_round_up(uint64_t dividend, uint64_t divisor) {
  return dividend / divisor + (dividend % divisor != 0 ? 1 : 0);
}

constexpr uint64_t round_up(uint64_t value, uint64_t multiple) {
  return divide_round_up(value, multiple) * multiple;
}

}  // namespace unionfs

template <typename World, typename Representation>
struct fmt::formatter<unionfs::Position<World, Representation>> : fmt::formatter<Representation> {
  template <typename Context>
  auto format(unionfs::Position<World, Representation> position, Context& context) const {
    return fmt::formatter<Representation>::format(position.value(), context);
  }
};

template <typename World>
struct fmt::formatter<unionfs::Claimed<World>> : fmt::formatter<uint32_t> {
  template <typename Context>
  auto format(unionfs::Claimed<World> claimed, Context& context) const {
    return fmt::formatter<uint32_t>::format(claimed.value(), context);
  }
};

#endif  // UNIONFS_FSPARSE_NUMBERS_H
