// SPDX-License-Identifier: BSD-3-Clause
//
// The making of a rebase: over files that fail, twice, and stopped.
#include "overlay/merged/merged_image.h"
#include "tests/unit/rebase/rebase_room.h"

using namespace unionfs;
using namespace unionfs::testing;

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
