// SPDX-License-Identifier: BSD-3-Clause
//
// A layer that stands on the merged image of another one, read-only: the items
// and blocks of the upper one are what a plain copy of that image gives.
#include <catch2/catch.hpp>

#include <fmt/ranges.h>

#include "fsparse/inode.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// All bytes of a view.
std::vector<std::byte> bytes_of(const MergedView& view) {
  std::vector<std::byte> bytes(view.size_bytes());
  expect_success(view.read(0, bytes));
  return bytes;
}

// What a lower gives by items, beside what a plain image of the same bytes gives.
void check_items(const Below& stacked, const Below& plain) {
  const Layout& layout = plain.layout();
  REQUIRE(stacked.layout() == layout);
  std::vector<std::byte> wanted(layout.block_size_bytes);
  std::vector<std::byte> found(layout.block_size_bytes);
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    expect_success(plain.used_blocks(GroupNumber(number), wanted));
    expect_success(stacked.used_blocks(GroupNumber(number), found));
    CHECK(wanted == found);
    expect_success(plain.used_inodes(GroupNumber(number), wanted));
    expect_success(stacked.used_inodes(GroupNumber(number), found));
    CHECK(wanted == found);
  }
  uint64_t pointer_blocks = 0;
  uint64_t names = 0;
  for (uint32_t number = 1; number <= layout.inode_count(); ++number) {
    const InodeNumber inode(number);
    const InodeRecord record = value_of(plain.inode_at(inode));
    const InodeRecord same = value_of(stacked.inode_at(inode));
    REQUIRE(std::equal(record.bytes().begin(), record.bytes().end(), same.bytes().begin()));
    expect_success(walk_block_map(
        plain.volume(), record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          if (role.level > 0 && record.is_regular()) {
            const auto pointers = value_of(stacked.pointers_at(inode, role));
            REQUIRE(pointers);
            CHECK(pointers->block == block);
            CHECK(pointers->pointers == value_of(read_pointers(plain.volume(), block)));
            ++pointer_blocks;
          }
          return WalkStep::kContinue;
        }));
    if (!record.is_directory() || record.raw().i_links_count == 0) {
      continue;
    }
    for (const NamedEntry& entry : value_of(read_directory(plain.volume(), record))) {
      const auto list = value_of(stacked.names_of(inode, entry.block, entry.file_block));
      EntryView wanted_entry;
      wanted_entry.name = entry.name;
      wanted_entry.offset = entry.offset;
      const auto name = value_of(list->find(wanted_entry));
      REQUIRE(name);
      CHECK(name->inode == entry.inode);
      wanted_entry.name = "there is no such name";
      CHECK_FALSE(value_of(list->find(wanted_entry)));
      ++names;
    }
  }
  CHECK(pointer_blocks > 0);
  CHECK(names > 5);
}

}  // namespace

TEST_CASE("Stack: a layer stands on the merged image of another one", "[stack]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  const auto first_file = images.with_layer();
  const auto first = value_of(LayerOverLower::load(*images.lower().image, *first_file, {}));
  const auto below = value_of(LayerBelow::open(*first));

  // The same bytes as a plain image.
  MemoryFile flat(first_file->name());
  expect_success(flat.resize(first->geometry().size_bytes()));
  flat.poke(0, bytes_of(first->view()));
  const auto plain = value_of(LowerImage::open(flat));
  check_items(*below, *plain);

  // One upper over the one and over the other, a group larger.
  const uint64_t size = first->geometry().size_bytes() + kMebibyte;
  const Geometry geometry = value_of(Geometry::grow(plain->volume(), size));
  MemoryFile upper("second.img");
  expect_success(create_layer(upper, below->volume(), geometry));
  SECTION("an untouched layer") {}
  SECTION("a layer with changes") {
    auto disk = value_of(Disk::load(*plain, upper, kBootId, quiet_log()));
    expect_success(disk->attach(Access::kReadWrite));
    write_differences(
        *disk, changed_by_debugfs(*disk, {"rm /hello", "write @/small /new",
                                          "write @/large /etc/large", "rm /etc/deep/deeper/large",
                                          "set_inode_field /small mode 0100600", "mkdir /made"}));
    (void)value_of(checkpoint(std::move(disk)));
  }
  const auto over_plain = value_of(LayerOverLower::load(*plain, upper, {}));
  const auto over_layer = value_of(LayerOverLower::load(*below, upper, {}));
  CHECK(bytes_of(over_layer->view()) == bytes_of(over_plain->view()));

  // What a third one would stand on.
  check_items(*value_of(LayerBelow::open(*over_layer)), *value_of(LayerBelow::open(*over_plain)));
}

// Each level owns the root, so that each has to be asked; the bottom counts.
TEST_CASE("Stack: an item costs each level one question", "[stack]") {
  const Lower lower(small_image(1024));
  const uint64_t size = small_merged_size(1024);
  std::vector<std::unique_ptr<MemoryFile>> files;
  std::vector<std::unique_ptr<LayerOverLower>> layers;
  std::vector<std::unique_ptr<LayerBelow>> belows;
  std::vector<uint64_t> reads;
  const auto reset_counts = [&] {
    lower.file->reset_counts();
    for (const auto& file : files) {
      file->reset_counts();
    }
  };
  const auto count_reads = [&] {
    uint64_t count = lower.file->count(FileOperation::kRead);
    for (const auto& file : files) {
      count += file->count(FileOperation::kRead);
    }
    return count;
  };
  const Below* below = lower.image.get();
  for (int level = 1; level <= 12; ++level) {
    files.push_back(std::make_unique<MemoryFile>(fmt::format("level{}.img", level)));
    const Geometry geometry = value_of(Geometry::grow(below->volume(), size));
    expect_success(create_layer(*files.back(), below->volume(), geometry));
    // All anew, so that nothing is remembered.
    belows.clear();
    layers.clear();
    below = lower.image.get();
    for (const auto& file : files) {
      layers.push_back(value_of(LayerOverLower::load(*below, *file, {})));
      belows.push_back(value_of(LayerBelow::open(*layers.back())));
      below = belows.back().get();
    }
    reset_counts();
    const BlockNumber table = geometry.groups()[0].inode_table;
    std::vector<std::byte> block(1024);
    expect_success(below->volume().read_block(table, block));
    (void)value_of(below->inode_at(kRootDirectory));
    const auto names = value_of(below->names_of(kRootDirectory, BlockNumber(0), FileBlock(0)));
    EntryView hello;
    hello.name = "hello";
    REQUIRE(value_of(names->find(hello)));
    reads.push_back(count_reads());

    // Over another layer a composed block is remembered, over a plain image it is not.
    reset_counts();
    std::vector<std::byte> again(1024);
    expect_success(below->volume().read_block(table, again));
    CHECK((again == block));
    CHECK((count_reads() == 0) == (level > 1));
  }
  INFO(fmt::format("reads by levels: {}", fmt::join(reads, " ")));
  for (size_t level = 1; level < reads.size(); ++level) {
    CHECK(reads[level] - reads[level - 1] <= reads[0]);
  }
}
