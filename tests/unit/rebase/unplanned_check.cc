// SPDX-License-Identifier: BSD-3-Clause
//
// What no plan speaks of is found to be as it was, or told.
#include "overlay/rebase/unplanned_check.h"

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/merged/merged_image.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// A merged image with a file in its root; what is written to the disk shows in it.
struct UnplannedRoom {
  UnplannedRoom()
      : lower(small_image(1024)),
        upper(make_upper(lower, small_merged_size(1024))),
        disk(open_disk(lower, *upper)) {
    PlannedFile root;
    root.existing = kRootDirectory;
    root.state = value_of(file_state_of(lower.volume, kRootDirectory));
    plan.files.push_back(root);
    const InodeRecord directory = value_of(read_inode(lower.volume, kRootDirectory));
    for (const NamedEntry& entry : value_of(read_directory(lower.volume, directory))) {
      if (entry.name == "small") {
        name = entry.name;
        inode = entry.inode;
      }
    }
    REQUIRE_FALSE(name.empty());
  }
  Result<uint64_t> check() const {
    const auto merged = value_of(MergedImage::open("new merged image", disk->view()));
    return check_unplanned(plan, lower.volume, merged->volume(), is_cancelled);
  }
  uint64_t record_offset() const {
    return inode_offset(lower.layout(), lower.volume.groups(), inode);
  }

  Lower lower;
  std::unique_ptr<MemoryFile> upper;
  std::unique_ptr<Disk> disk;
  Plan plan;
  std::string name;
  InodeNumber inode;
  std::atomic<bool> is_cancelled{false};
};

}  // namespace

TEST_CASE("Unplanned: all of the lower is read and found", "[rebase][unplanned]") {
  UnplannedRoom room;
  CHECK(value_of(room.check()) > 0);
  room.is_cancelled = true;
  CHECK(expect_error(room.check(), {}) == ErrorKind::kSystem);
}

TEST_CASE("Unplanned: another byte of a file is found", "[rebase][unplanned]") {
  UnplannedRoom room;
  const InodeRecord record = value_of(read_inode(room.lower.volume, room.inode));
  const auto block = value_of(map_block(room.lower.volume, record, FileBlock(0)));
  REQUIRE(block.has_value());
  const std::vector<std::byte> bytes(7, std::byte{0xA5});
  expect_success(room.disk->write(room.lower.layout().offset_of(*block), bytes));
  expect_error(room.check(), {"/" + room.name, "another content"});
}

TEST_CASE("Unplanned: another record is found, unless it is planned", "[rebase][unplanned]") {
  UnplannedRoom room;
  InodeRecord record = value_of(read_inode(room.lower.volume, room.inode));
  record.raw().i_uid = static_cast<uint16_t>(record.raw().i_uid + 1);
  expect_success(room.disk->write(room.record_offset(), record.bytes()));
  expect_error(room.check(), {"/" + room.name, "another record"});
  PlannedFile file;
  file.existing = room.inode;
  room.plan.files.push_back(file);
  CHECK(value_of(room.check()) > 0);
}

TEST_CASE("Unplanned: a name that leads elsewhere is found, unless it is planned",
          "[rebase][unplanned]") {
  UnplannedRoom room;
  const InodeRecord root = value_of(read_inode(room.lower.volume, kRootDirectory));
  for (const NamedEntry& entry : value_of(read_directory(room.lower.volume, root))) {
    if (entry.name == room.name) {
      const Le32 other = static_cast<uint32_t>(kRootDirectory.value());
      expect_success(room.disk->write(room.lower.layout().offset_of(entry.block) + entry.offset,
                                      std::as_bytes(std::span(&other, 1))));
    }
  }
  expect_error(room.check(), {"/" + room.name, "leads to another inode"});
  room.plan.names.emplace(PlannedNameKey{kPlannedRoot, room.name},
                          PlannedName{std::nullopt, "/" + room.name});
  CHECK(value_of(room.check()) > 0);
}
