// SPDX-License-Identifier: BSD-3-Clause
//
// Uppers as an earlier program wrote them.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_OLD_VERSION_H
#define UNIONFS_TESTS_UNIT_SUPPORT_OLD_VERSION_H

#include <xxhash.h>

#include <cstring>

#include "overlay/upper/lower_identity.h"
#include "overlay/upper/upper_format.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/test_files.h"

namespace unionfs::testing {

inline upper_format::Mark mark_in(const MemoryFile& upper) {
  const auto superblock = upper.get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  upper_format::Mark mark;
  std::memcpy(&mark, superblock.s_jnl_blocks.data(), sizeof(mark));
  return mark;
}

inline void put_mark(MemoryFile& upper, const upper_format::Mark& mark) {
  auto superblock = upper.get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  std::memcpy(static_cast<void*>(superblock.s_jnl_blocks.data()), &mark, sizeof(mark));
  upper.put(ext2::kSuperblockOffsetBytes, superblock);
}

// Where the header lies that counts.
inline uint64_t header_place(const MemoryFile& upper) {
  const uint64_t state = mark_in(upper).state_offset;
  const auto first = upper.get<upper_format::Header>(state);
  const auto second = upper.get<upper_format::Header>(state + upper_format::kPageBytes);
  return second.generation > first.generation ? state + upper_format::kPageBytes : state;
}

inline upper_format::Header header_in(const MemoryFile& upper) {
  return upper.get<upper_format::Header>(header_place(upper));
}

// Puts it where the one lies that counts, with a right checksum.
inline void replace_header(MemoryFile& upper, upper_format::Header header) {
  header.checksum = uint64_t{0};
  header.checksum = XXH3_64bits(&header, sizeof(header));
  upper.put(header_place(upper), header);
}

// An upper without records of its lower: all of superblock and descriptors counts.
// Which slot counts stays as it is; the other slot is emptied.
inline void make_without_records(MemoryFile& upper, const Volume& lower, uint32_t version = 2) {
  upper_format::Mark mark = mark_in(upper);
  mark.version = version;
  put_mark(upper, mark);
  upper_format::Header header = header_in(upper);
  header.version = version;
  header.feature_incompat = 0U;
  header.lower = value_of(identity_without_records(lower));
  header.lower_records = {};
  header.lower_free_blocks_count = 0U;
  header.lower_free_inodes_count = 0U;
  header.lower_used_dirs_count = 0U;
  const uint64_t place = header_place(upper);
  const uint64_t other =
      place == mark.state_offset ? place + upper_format::kPageBytes : uint64_t{mark.state_offset};
  replace_header(upper, header);
  upper.put(other, upper_format::Header{});
}

// Version 1 is the same with other numbers, and without feature words.
inline void make_version_1(MemoryFile& upper, const Volume& lower) {
  make_without_records(upper, lower, 1);
}

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_OLD_VERSION_H
