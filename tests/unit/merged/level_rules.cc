// SPDX-License-Identifier: BSD-3-Clause
//
// What levels that stand on one another must not bring back.  Each level is made over the levels
// below it and over a plain copy of what they show, and has to show the same bytes.
#include <catch2/catch.hpp>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/merged/merged_image.h"
#include "tests/unit/merged/chain_bench.h"
#include "tests/unit/support/image_facts.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// The inode that a path of plain names leads to in the topmost level.
InodeNumber inode_at(const Volume& volume, const std::vector<std::string>& names) {
  InodeNumber inode = kRootDirectory;
  for (const std::string& name : names) {
    const auto entry = value_of(find_name(volume, value_of(read_inode(volume, inode)), name));
    REQUIRE(entry.has_value());
    inode = entry->inode;
  }
  return inode;
}

std::optional<BlockNumber> block_of(const Volume& volume, InodeNumber inode, uint64_t block) {
  return value_of(map_block(volume, value_of(read_inode(volume, inode)), FileBlock(block)));
}

std::vector<std::string> names_in(const Volume& volume, InodeNumber directory) {
  std::vector<std::string> names;
  const InodeRecord record = value_of(read_inode(volume, directory));
  for (const NamedEntry& entry : value_of(read_directory(volume, record))) {
    names.push_back(entry.name);
  }
  return names;
}

void check_by_e2fsck(const std::vector<std::byte>& bytes) {
  const ScratchDirectory scratch;
  save(bytes, scratch.path() / "merged.img");
  std::filesystem::resize_file(scratch.path() / "merged.img", bytes.size());
  run({"e2fsck", "-fn", (scratch.path() / "merged.img").string()});
}

}  // namespace

// I1: what hung below the indirect block is whited out where that became a hole.
TEST_CASE("A pointer below a hole does not come back", "[levels]") {
  Levels levels(1024);
  levels.add({"write @/larger /file"});
  const Volume& first = levels.top().volume();
  const InodeNumber file = inode_at(first, {"file"});
  REQUIRE(block_of(first, file, 60).has_value());
  levels.add({"punch /file 12 200"});
  REQUIRE_FALSE(block_of(levels.top().volume(), file, 60).has_value());
  // The indirect block is there again, for one block alone.
  levels.add({"bmap -a /file 40"});
  const Volume& third = levels.top().volume();
  REQUIRE(block_of(third, file, 40).has_value());
  levels.add({"set_inode_field /file mode 0100600"});
  const Volume& fourth = levels.top().volume();
  for (const uint64_t block : {12, 39, 41, 60, 136}) {
    INFO("block " << block);
    CHECK_FALSE(block_of(third, file, block).has_value());
    CHECK_FALSE(block_of(fourth, file, block).has_value());
  }
  CHECK(block_of(fourth, file, 40) == block_of(third, file, 40));
}

TEST_CASE("A name of a directory whose number was used again has no name below", "[levels]") {
  Levels levels(1024);
  levels.add(
      {"mkdir /old", "write @/small /old/one", "write @/small /old/two", "mkdir /old/three"});
  const InodeNumber number = inode_at(levels.top().volume(), {"old"});
  // The first checkpoint whites it out, and the second one owns it.
  levels.add_sessions({{"rm /old/one", "rm /old/two", "rmdir /old/three", "rmdir /old"},
                       {"mkdir /new", "write @/small /new/two"}});
  REQUIRE(inode_at(levels.top().volume(), {"new"}) == number);
  levels.add({"write @/small /new/four"});
  const LayerOverLower& second = levels.layer(1);
  const GroupNumber group = levels.top().layout().group_of(number);
  const uint64_t bit = (number.value() - 1) % levels.top().layout().inodes_per_group;
  CHECK(test_bit(second.layer().inode_whiteouts().of(group), bit));
  CHECK(test_bit(second.layer().own_inodes().of(group), bit));
  CHECK(names_in(levels.top().volume(), number) ==
        std::vector<std::string>{".", "..", "two", "four"});
  // Also not by the items that a level above asks for.
  std::vector<std::byte> entries(1024);
  const std::vector<std::string> gone = {"one", "three"};
  for (const std::string& name : gone) {
    put_entry(entries, 0, entries.size(), number, 0, name);
    DirectoryCursor cursor(entries, DirectoryRules::of(levels.top().volume()),
                           {"wanted", number, BlockNumber(0)});
    const auto wanted = value_of(cursor.next());
    const BlockNumber block = *block_of(levels.top().volume(), number, 0);
    const auto names = value_of(levels.top().names_of(number, block, FileBlock(0)));
    CHECK_FALSE(value_of(names->find(*wanted)).has_value());
  }
}

// The padding of the last bitmap is one level's: the level above has blocks there.
TEST_CASE("Each level ends where it ends", "[levels]") {
  const uint32_t block_size = 1024;
  Levels levels(block_size);
  RandomRequests requests(block_size + 1);
  std::vector<uint64_t> ends;
  for (const uint64_t more : {0, 37, 37, 0, 9000, 411}) {
    levels.grow_by(more * block_size);
    levels.add(requests.next(10));
    const Layout& layout = levels.top().layout();
    ends.push_back(layout.block_count);
    check_by_e2fsck(levels.shown());
    // What is past the end of the level below was never written, so it is free there.
    if (ends.size() > 1 && ends[ends.size() - 2] < layout.block_count) {
      const BlockNumber behind(layout.block_count - 1);
      const GroupNumber group = layout.group_of(behind);
      std::vector<std::byte> used(block_size);
      expect_success(levels.top().used_blocks(group, used));
      std::vector<std::byte> found(block_size);
      expect_success(levels.top().volume().read_block(behind, found));
      const bool is_used = test_bit(used, behind - layout.blocks_of(group).begin);
      CHECK((is_used || found == std::vector<std::byte>(block_size)));
    }
  }
  CHECK(ends.front() < ends.back());
  CHECK(std::is_sorted(ends.begin(), ends.end()));
  // All of them, once more, when the larger ones stand on them.
  for (size_t level = 0; level < levels.count(); ++level) {
    INFO("level " << level + 1);
    CHECK(levels.layer(level).geometry().merged().block_count == ends[level]);
    check_by_e2fsck(bytes_of(levels.layer(level).view()));
  }
}
