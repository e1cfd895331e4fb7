// SPDX-License-Identifier: BSD-3-Clause
//
// Sessions of a client that means harm or has gone mad: metadata of the merged
// image is garbage, with a superblock that says it is clean.  The checkpoint
// refuses, and the session stays byte for byte; or it makes a layer that gives
// the same files, garbage and all.  It ends, and takes no space without bound.
#include <chrono>
#include <cstdlib>

#include "fsparse/bitmap.h"
#include "fsparse/directory.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/checkpoint/checkpoint_vandal.h"
#include "tests/unit/support/memory_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 1024;

uint64_t rounds() {
  const char* given = std::getenv("UNIONFS_ROUNDS");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : 400;
}

struct HostileFigures {
  uint64_t refused = 0;
  uint64_t accepted = 0;
  double slowest_seconds = 0;
};

void expect_same_session(const CheckpointImages& images, const MemoryFile& upper,
                         const std::vector<std::byte>& wanted) {
  const auto copy = upper.clone();
  CHECK(shown(images.lower(), *copy) == wanted);
}

void hostile_round(const CheckpointImages& images, uint64_t seed, HostileFigures& figures) {
  // Over a layer that owns much, or over that and a sane session.
  const bool over_session = seed % 2 == 0;
  const auto upper = over_session ? images.with_session() : images.with_layer();
  Vandal vandal(over_session ? images.session() : images.before(), seed);
  std::string log;
  for (uint64_t i = 0; i < 1 + seed / 2 % 4; ++i) {
    log += vandal.damage() + "\n";
  }
  INFO("seed " << seed << "\n" << log);
  auto disk = open_disk(images.lower(), *upper);
  write_differences(*disk, vandal.bytes());
  const std::vector<std::byte> session = vandal.bytes();
  expect_success(disk->close());
  CHECK(read_all(*disk) == session);
  disk.reset();
  const uint64_t size_bytes = upper->size_bytes();
  const auto with_session = upper->clone();

  const auto began = std::chrono::steady_clock::now();
  const auto result = checkpoint(open_disk(images.lower(), *upper));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  figures.slowest_seconds = std::max(figures.slowest_seconds, seconds.count());
  CHECK(seconds.count() < 20);
  // All of the merged image once more, and the tables that describe it.
  CHECK(upper->size_bytes() <= size_bytes + (uint64_t{4} << 20));
  if (!result) {
    ++figures.refused;
    INFO("refused: " << result.error().message);
    CHECK(result.error().message.size() > 10);
    CHECK(result.error().message.size() < 600);
    expect_same_session(images, *upper, session);
    return;
  }
  ++figures.accepted;
  const std::string differing =
      difference(facts_of(session), facts_of(shown(images.lower(), *upper)));
  CHECK(differing == "");
  // What was accepted can be gone on with.
  auto next = open_disk(images.lower(), *upper);
  expect_success(next->write(0, pattern(seed, 700)));
  const auto again = checkpoint(std::move(next));
  if (!again) {
    CHECK_THAT(again.error().message, Catch::Contains("merged image"));
  }
}

}  // namespace

TEST_CASE("Checkpoint: hostile sessions are refused or kept as they are", "[checkpoint][hostile]") {
  const CheckpointImages& images = CheckpointImages::of(kBlock);
  const uint64_t first_seed = test_seed("hostile sessions") % 1000000000;
  HostileFigures figures;
  const uint64_t count = rounds();
  for (uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
    hostile_round(images, seed, figures);
  }
  WARN(count << " rounds from seed " << first_seed << ": " << figures.refused << " refused, "
             << figures.accepted << " accepted, the slowest took " << figures.slowest_seconds
             << " s");
  CHECK(figures.refused > count / 10);
  CHECK(figures.accepted > count / 50);
}

namespace {

// One change to the sane session; the checkpoint must say so.
void expect_refusal(const std::function<void(MemoryImage&, const Volume&)>& change,
                    std::initializer_list<std::string> parts) {
  const CheckpointImages& images = CheckpointImages::of(kBlock);
  MemoryImage image("image", images.before());
  const MemoryImage sound("image", images.before());
  const Volume volume = value_of(Volume::open(sound, SuperblockUse::kLower));
  change(image, volume);
  const auto upper = images.with_layer();
  auto disk = open_disk(images.lower(), *upper);
  const ByteSpan all = image.bytes(0, image.size_bytes());
  write_differences(*disk, all);
  expect_error(checkpoint(std::move(disk)), parts);
  expect_same_session(images, *upper, {all.begin(), all.end()});
}

InodeRecord inode_at(const Volume& volume, std::initializer_list<std::string> path) {
  InodeRecord record = value_of(read_inode(volume, kRootDirectory));
  for (const std::string& name : path) {
    const auto entry = value_of(find_name(volume, record, name));
    REQUIRE(entry);
    record = value_of(read_inode(volume, entry->inode));
  }
  return record;
}

ext2::Inode& raw_inode(MemoryImage& image, const Volume& volume, InodeNumber inode) {
  return image.edit<ext2::Inode>(inode_offset(volume.layout(), volume.groups(), inode));
}

ext2::DirectoryEntry& entry_of(MemoryImage& image, const Volume& volume,
                               const InodeRecord& directory, const std::string& name) {
  const auto entry = value_of(find_name(volume, directory, name));
  REQUIRE(entry);
  return image.edit<ext2::DirectoryEntry>(volume.layout().offset_of(entry->block) + entry->offset);
}

}  // namespace

TEST_CASE("Checkpoint: a client mends an xattr block outside the lower", "[checkpoint][hostile]") {
  const Lower lower(small_image(kBlock));
  const uint64_t slot = inode_offset(lower.layout(), lower.volume.groups(),
                                     inode_at(lower.volume, {"hello"}).number());
  const uint64_t place = slot + offsetof(ext2::Inode, i_file_acl);
  lower.file->put(place, Le32(0xfffffff0U));
  const auto upper = make_upper(lower, small_merged_size(kBlock));
  auto disk = open_disk(lower, *upper);
  SECTION("it takes the block away") {
    const Le32 none(0U);
    expect_success(disk->write(place, std::as_bytes(std::span(&none, 1))));
    value_of(checkpoint(std::move(disk)));
  }
  SECTION("or leaves it, and changes something else") {
    const Le32 time(1700000000U);
    expect_success(
        disk->write(slot + offsetof(ext2::Inode, i_mtime), std::as_bytes(std::span(&time, 1))));
    expect_error(checkpoint(std::move(disk)), {"inode", "4294967280 is outside the image"});
  }
}

TEST_CASE("Checkpoint: refuses a block that two files have", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const BlockNumber block =
            *volume.file_block(inode_at(volume, {"etc", "middle"}).pointer(3));
        raw_inode(image, volume, inode_at(volume, {"hello"}).number()).i_block[5] =
            static_cast<uint32_t>(block.value());
      },
      {"inode", "block", "another file"});
}

TEST_CASE("Checkpoint: refuses a block that one file has twice", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const InodeRecord middle = inode_at(volume, {"etc", "middle"});
        raw_inode(image, volume, middle.number()).i_block[5] =
            static_cast<uint32_t>(middle.pointer(3).value());
      },
      {"inode", "used twice"});
}

TEST_CASE("Checkpoint: refuses a used block that is marked free", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const InodeRecord small = inode_at(volume, {"new", "small"});
        const BlockNumber block = *volume.file_block(small.pointer(0));
        const GroupNumber group = volume.layout().group_of(block);
        clear_bit(image.bytes(volume.layout().offset_of(volume.group(group).block_bitmap), kBlock),
                  block - volume.layout().blocks_of(group).begin);
        raw_inode(image, volume, small.number()).i_uid = uint16_t{5};
      },
      {"block", "marked free"});
}

TEST_CASE("Checkpoint: refuses a pointer into metadata", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        raw_inode(image, volume, inode_at(volume, {"hello"}).number()).i_block[1] =
            static_cast<uint32_t>(volume.group(GroupNumber(1)).inode_table.value());
      },
      {"inode", "metadata"});
}

TEST_CASE("Checkpoint: refuses a pointer outside the image", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        raw_inode(image, volume, inode_at(volume, {"hello"}).number()).i_block[1] = 0xfffffff0U;
      },
      {"inode", "outside"});
}

TEST_CASE("Checkpoint: refuses directories that only contain each other", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        // /etc/deep/deeper gets /etc's place inside itself: etc <- deeper <- deep <- etc.
        const InodeRecord root = inode_at(volume, {});
        const InodeRecord etc = inode_at(volume, {"etc"});
        const InodeRecord deeper = inode_at(volume, {"etc", "deep", "deeper"});
        entry_of(image, volume, root, "etc").inode = 0U;
        auto& large = entry_of(image, volume, deeper, "large");
        large.inode = etc.number().value();
        large.file_type = ext2::kFileTypeDirectory;
        entry_of(image, volume, etc, "..").inode = deeper.number().value();
        raw_inode(image, volume, root.number()).i_links_count =
            static_cast<uint16_t>(root.raw().i_links_count.value() - 1);
        raw_inode(image, volume, deeper.number()).i_links_count =
            static_cast<uint16_t>(deeper.raw().i_links_count.value() + 1);
      },
      {"directory"});
}

TEST_CASE("Checkpoint: refuses a name of a free inode", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        entry_of(image, volume, inode_at(volume, {"new"}), "small").inode =
            static_cast<uint32_t>(volume.layout().inode_count());
      },
      {"names inode", "free"});
}

TEST_CASE("Checkpoint: refuses an inode with more links than names", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const InodeRecord hello = inode_at(volume, {"hello"});
        raw_inode(image, volume, hello.number()).i_links_count =
            static_cast<uint16_t>(hello.raw().i_links_count.value() + 3);
      },
      {"links", "names"});
}

TEST_CASE("Checkpoint: refuses metadata that is marked free", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const Group& group = volume.group(GroupNumber(2));
        const BlockNumber first = volume.layout().blocks_of(GroupNumber(2)).begin;
        clear_bit(image.bytes(volume.layout().offset_of(group.block_bitmap), kBlock),
                  group.inode_table - first);
      },
      {"group 2", "metadata is marked free"});
}

TEST_CASE("Checkpoint: refuses a freed block that an unchanged file has", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const BlockNumber block =
            *volume.file_block(inode_at(volume, {"etc", "middle"}).pointer(3));
        const GroupNumber group = volume.layout().group_of(block);
        clear_bit(image.bytes(volume.layout().offset_of(volume.group(group).block_bitmap), kBlock),
                  block - volume.layout().blocks_of(group).begin);
      },
      {"inode", "block", "marked free"});
}

TEST_CASE("Checkpoint: refuses a freed inode that still has links", "[checkpoint][hostile]") {
  expect_refusal(
      [](MemoryImage& image, const Volume& volume) {
        const Layout& layout = volume.layout();
        const InodeNumber inode = inode_at(volume, {"etc", "middle"}).number();
        const GroupNumber group = layout.group_of(inode);
        clear_bit(image.bytes(layout.offset_of(volume.group(group).inode_bitmap), kBlock),
                  (inode.value() - 1) % layout.inodes_per_group);
      },
      {"inode", "marked free", "links"});
}
