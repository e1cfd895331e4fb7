// SPDX-License-Identifier: BSD-3-Clause
//
// The making of a rebase: over files that fail, twice, and stopped.
#include "overlay/rebase/rebase.h"

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/merged/merged_image.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

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

std::vector<std::byte> all_of(const MemoryFile& file) {
  std::vector<std::byte> bytes(file.size_bytes());
  expect_success(file.peek(0, bytes));
  return bytes;
}

}  // namespace

TEST_CASE("Rebase: carries a byte over to blocks of another size, always in the same way",
          "[rebase][making]") {
  RebaseRoom room;
  MemoryFile target("target");
  RebaseOptions options;
  options.verifies_all = true;
  const RebaseOutcome outcome = value_of(room.run(target, options));
  CHECK(outcome.is_done);
  CHECK_FALSE(outcome.is_same_lower);
  CHECK(outcome.report.conflicts.empty());
  CHECK(outcome.report.applied == std::vector<std::string>{"/" + room.name});
  CHECK(outcome.verified_bytes > 0);
  // The names that it changed are known to it.
  CHECK(outcome.checkpoint.directories_searched == 0);

  const auto disk = load_disk(room.new_lower, target);
  const auto merged = value_of(MergedImage::open("merged", disk->view()));
  const InodeRecord root = value_of(read_inode(merged->volume(), kRootDirectory));
  const auto found = value_of(find_name(merged->volume(), root, room.name));
  REQUIRE(found.has_value());
  const InodeRecord record = value_of(read_inode(merged->volume(), found->inode));
  const auto block = value_of(map_block(merged->volume(), record, FileBlock(0)));
  REQUIRE(block.has_value());
  std::array<std::byte, 3> bytes = {};
  expect_success(merged->file().read(merged->volume().layout().offset_of(*block), bytes));
  CHECK(bytes == RebaseRoom::kMark);

  MemoryFile again("target");
  CHECK(value_of(room.run(again, options)).is_done);
  CHECK(all_of(again) == all_of(target));
  CHECK(room.is_upper_as_it_was());
}

TEST_CASE("Rebase: what it makes is no more than it says before", "[rebase][making]") {
  RebaseRoom room;
  MemoryFile target("target");
  RebaseOptions options;
  options.is_dry_run = true;
  const RebaseOutcome outcome = value_of(room.run(target, options));
  CHECK_FALSE(outcome.is_done);
  CHECK(outcome.report.applied == std::vector<std::string>{"/" + room.name});
  CHECK(target.size_bytes() == 0);
  room.is_cancelled = true;
  const auto cancelled = room.run(target);
  REQUIRE_FALSE(cancelled.has_value());
  CHECK(cancelled.error().error_number == ECANCELED);
  CHECK(target.size_bytes() == 0);
}

TEST_CASE("Rebase: a host that fails at any change ends it, and the old upper stays",
          "[rebase][making]") {
  RebaseRoom room;
  for (const FileOperation kind :
       {FileOperation::kWrite, FileOperation::kAllocate, FileOperation::kSync}) {
    MemoryFile whole("target");
    CHECK(value_of(room.run(whole)).is_done);
    const uint64_t count = whole.count(kind);
    // Each of the first ones, and some of the others.
    for (uint64_t number = 1; number <= count; number += number < 20 ? 1 : count / 20 + 1) {
      INFO("operation " << static_cast<int>(kind) << ", the " << number << "th of " << count);
      MemoryFile target("target");
      FaultyFile faulty(target);
      faulty.fail(kind, number, ENOSPC, UINT32_MAX);
      const auto failed = room.run(faulty);
      REQUIRE_FALSE(failed.has_value());
      CHECK(failed.error().error_number == ENOSPC);
    }
  }
  CHECK(room.is_upper_as_it_was());
}
