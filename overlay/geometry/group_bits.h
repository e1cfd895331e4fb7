// SPDX-License-Identifier: BSD-3-Clause
//
// One bit per block (or inode) of the merged image, kept only for the groups
// that have any set: memory follows what the layer owns, not the image's size.
#ifndef UNIONFS_OVERLAY_GEOMETRY_GROUP_BITS_H
#define UNIONFS_OVERLAY_GEOMETRY_GROUP_BITS_H

#include <bit>
#include <cassert>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fsparse/bitmap.h"
#include "fsparse/image.h"
#include "fsparse/numbers.h"

namespace unionfs {

// Bits are numbered within their group.  A group or bit that the image does not have
// ends the program: it would be our own mistake (fsparse/numbers.h).  Const methods
// are thread-safe.
class GroupBits {
 public:
  GroupBits(uint32_t group_count, uint32_t bits_per_group)
      : place_(group_count, kNone),
        bits_per_group_(bits_per_group),
        bytes_per_group_(round_up(bits_per_group, 64) / 8) {}

  uint32_t bits_per_group() const { return bits_per_group_; }

  // The group's bits; empty when none was ever set.
  ConstByteSpan of(GroupNumber group) const {
    assert(group.value() < place_.size());
    const uint32_t place = place_[group.value()];
    return place == kNone
               ? ConstByteSpan()
               : ConstByteSpan(bytes_.data() + place * bytes_per_group_, bytes_per_group_);
  }
  bool has_any(GroupNumber group) const {
    assert(group.value() < place_.size());
    return place_[group.value()] != kNone;
  }
  bool test(GroupNumber group, uint32_t bit) const {
    const ConstByteSpan bits = of(group);
    return !bits.empty() && test_bit(bits, bit);
  }

  // How many are set.
  uint64_t count() const {
    uint64_t count = 0;
    for (size_t at = 0; at < bytes_.size(); at += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, bytes_.data() + at, sizeof(word));
      count += static_cast<uint64_t>(std::popcount(word));
    }
    return count;
  }

  // The group's bits for changing; they count as set from now on.
  ByteSpan mutable_of(GroupNumber group) {
    assert(group.value() < place_.size());
    uint32_t& place = place_[group.value()];
    if (place == kNone) {
      place = static_cast<uint32_t>(bytes_.size() / bytes_per_group_);
      bytes_.resize(bytes_.size() + bytes_per_group_);
    }
    return ByteSpan(bytes_.data() + place * bytes_per_group_, bytes_per_group_);
  }
  void set(GroupNumber group, uint32_t bit) { set_bit(mutable_of(group), bit); }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  std::vector<uint32_t> place_;  // per group: index of its bits, or kNone
  uint32_t bits_per_group_;
  uint64_t bytes_per_group_;
  std::vector<std::byte> bytes_;
};

// Whether a group's bits say the same in both; bits that were never set are clear.
inline bool same_bits(const GroupBits& a, const GroupBits& b, GroupNumber group) {
  const ConstByteSpan left = a.of(group);
  const ConstByteSpan right = b.of(group);
  if (left.empty() || right.empty()) {
    return all_zeros(left.empty() ? right : left);
  }
  return same_bytes(left, right);
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_GEOMETRY_GROUP_BITS_H
