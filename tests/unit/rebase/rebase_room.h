// SPDX-License-Identifier: BSD-3-Clause
//
// What tests of the making of a rebase share.
#ifndef UNIONFS_TESTS_UNIT_REBASE_REBASE_ROOM_H
#define UNIONFS_TESTS_UNIT_REBASE_REBASE_ROOM_H

#include <string>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/rebase/rebase.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

// An upper over one lower, with a layer in which a byte of a file is another one; and a lower of
// the same files with blocks of another size.
struct RebaseRoom {
  RebaseRoom()
      : old_lower(small_image(1024)),
        new_lower(small_image(4096)),
        upper(make_upper(old_lower, small_merged_size(1024))) {
    const InodeRecord root = value_of(read_inode(old_lower.volume, kRootDirectory));
    for (const NamedEntry& entry : value_of(read_directory(old_lower.volume, root))) {
      const InodeRecord record = value_of(read_inode(old_lower.volume, entry.inode));
      if (entry.name == "small") {
        name = entry.name;
        block = value_of(map_block(old_lower.volume, record, FileBlock(0)));
      }
    }
    REQUIRE(block.has_value());
    const auto disk = open_disk(old_lower, *upper);
    expect_success(disk->write(old_lower.layout().offset_of(*block), kMark));
    expect_success(disk->close());
    (void)value_of(disk->checkpoint(AskedBy::kPerson, is_cancelled));
    before = upper->clone();
  }

  Result<RebaseOutcome> run(WritableFile& target, const RebaseOptions& options = {}) {
    const auto disk = load_disk(old_lower, *upper);
    expect_success(disk->attach(Access::kReadOnly));
    return rebase(*disk, *new_lower.image, target, options, kBootId, quiet_log(), LogSink(),
                  is_cancelled);
  }
  bool is_upper_as_it_was() const {
    std::vector<std::byte> now(upper->size_bytes());
    std::vector<std::byte> then(before->size_bytes());
    expect_success(upper->peek(0, now));
    expect_success(before->peek(0, then));
    return now == then;
  }

  static constexpr std::array<std::byte, 3> kMark = {std::byte{1}, std::byte{2}, std::byte{3}};

  Lower old_lower;
  Lower new_lower;
  std::unique_ptr<MemoryFile> upper;
  std::unique_ptr<MemoryFile> before;
  std::string name;
  std::optional<BlockNumber> block;
  std::atomic<bool> is_cancelled{false};
};

inline std::vector<std::byte> all_of(const MemoryFile& file) {
  std::vector<std::byte> bytes(file.size_bytes());
  expect_success(file.peek(0, bytes));
  return bytes;
}

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_REBASE_REBASE_ROOM_H
