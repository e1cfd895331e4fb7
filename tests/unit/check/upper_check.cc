// SPDX-License-Identifier: BSD-3-Clause
//
// The check of an upper on a host that fails, and over a lower that is damaged.
#include "overlay/check/upper_check.h"

#include <catch2/catch.hpp>

#include "fsparse/bitmap.h"
#include "fsparse/group_checksum.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs {
namespace {

using namespace unionfs::testing;

constexpr uint32_t kBlock = 1024;

// A lower, an upper without any violation, and the places of its parts.
struct Images {
  Images() : Images(small_image(kBlock), small_merged_size(kBlock)) {}
  Images(const RealImage& image, uint64_t merged_size_bytes)
      : lower(image),
        geometry(value_of(Geometry::grow(lower.volume, merged_size_bytes))),
        upper(make_upper(lower, merged_size_bytes)) {}

  // One violation that a repair can mend.
  void miscount_free_blocks() {
    const uint64_t place = layout().offset_of(layout().primary_descriptor_block(0));
    auto descriptor = upper->get<ext2::GroupDescriptor>(place);
    descriptor.bg_free_blocks_count =
        static_cast<uint16_t>(descriptor.bg_free_blocks_count.value() - 1);
    const auto superblock = upper->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
    descriptor.bg_checksum = GroupChecksum(superblock.s_uuid).of(GroupNumber(0), descriptor);
    upper->put(place, descriptor);
  }

  // Damage that can be mended, too, but that no server takes: the table of
  // translated blocks has the root's block.
  void disown_root_block() {
    const Volume volume = value_of(Volume::open(*upper, SuperblockUse::kUpper));
    const auto root = value_of(read_inode(volume, kRootDirectory));
    const BlockNumber block = *volume.file_block(root.pointer(0));
    const GroupNumber group = layout().group_of(block);
    const uint64_t bitmap = layout().offset_of(volume.group(group).block_bitmap);
    clear_bit(upper->bytes(bitmap, kBlock), block - layout().blocks_of(group).begin);
  }

  Result<CheckReport> check(CheckPurpose purpose) {
    return check_upper(*lower.file, *upper, purpose, quiet_log());
  }
  std::vector<std::byte> upper_bytes() const {
    std::vector<std::byte> bytes(upper->size_bytes());
    expect_success(upper->peek(0, bytes));
    return bytes;
  }
  const Layout& layout() const { return geometry.merged(); }

  Lower lower;
  Geometry geometry;
  std::unique_ptr<MemoryFile> upper;
};

// How many reads of the file a look takes.
uint64_t reads_of_a_look(Images& images, const MemoryFile& file) {
  images.lower.file->reset_counts();
  images.upper->reset_counts();
  (void)value_of(images.check(CheckPurpose::kLook));
  return file.count(FileOperation::kRead);
}

TEST_CASE("Check: a wrong checksum of a descriptor is mended", "[check]") {
  Images images;
  const uint32_t group = GENERATE(0U, 1U);  // the one has bitmaps, the other has none
  const uint64_t place = images.layout().offset_of(images.layout().primary_descriptor_block(0)) +
                         group * sizeof(ext2::GroupDescriptor);
  const auto sound = images.upper->get<ext2::GroupDescriptor>(place);
  CHECK(((sound.bg_flags & ext2::kGroupBlockUninit) != 0) == (group == 1));
  auto damaged = sound;
  damaged.bg_checksum = static_cast<uint16_t>(damaged.bg_checksum ^ 1);
  images.upper->put(place, damaged);
  const CheckReport seen = value_of(images.check(CheckPurpose::kLook));
  REQUIRE_FALSE(seen.found.empty());
  CHECK(seen.found.size() == seen.left.size());
  CHECK(value_of(images.check(CheckPurpose::kRepair)).is_repair_tried);
  CHECK(value_of(images.check(CheckPurpose::kLook)).found.empty());
  const auto mended = images.upper->get<ext2::GroupDescriptor>(place);
  CHECK(std::memcmp(&mended, &sound, sizeof(sound)) == 0);
}

TEST_CASE("Check: a sound upper, one that can be mended, and the mended one", "[check]") {
  Images images;
  CHECK(value_of(images.check(CheckPurpose::kLook)).found.empty());
  images.miscount_free_blocks();
  const auto bytes = images.upper_bytes();
  const CheckReport seen = value_of(images.check(CheckPurpose::kLook));
  CHECK(seen.found.size() == 2);  // the superblock has the sum
  CHECK(seen.left.size() == 2);
  CHECK_FALSE(seen.is_repair_tried);
  CHECK(images.upper_bytes() == bytes);
  const CheckReport mended = value_of(images.check(CheckPurpose::kRepair));
  CHECK(mended.is_repair_tried);
  CHECK_FALSE(mended.repair_failure);
  CHECK(mended.left.empty());
  CHECK(mended.mended_count() == 2);
  CHECK(value_of(images.check(CheckPurpose::kLook)).found.empty());
}

TEST_CASE("Check: a read error of either file ends it, and nothing is repaired", "[check]") {
  Images images;
  images.miscount_free_blocks();
  const auto bytes = images.upper_bytes();
  for (const bool is_lower : {true, false}) {
    const MemoryFile& file = is_lower ? *images.lower.file : *images.upper;
    const uint64_t count = reads_of_a_look(images, file);
    REQUIRE(count > 10);
    for (uint64_t number = 1; number <= count; ++number) {
      INFO((is_lower ? "lower" : "upper") << ": read " << number << " of " << count);
      FaultyFile lower(*images.lower.file);
      FaultyFile upper(*images.upper);
      (is_lower ? lower : upper).fail(FileOperation::kRead, number, EIO);
      const auto report = check_upper(lower, upper, CheckPurpose::kRepair, quiet_log());
      // A repair begins with the read that a look ends with: of the session.
      if (report && report->repair_failure) {
        CHECK(number == count);
        CHECK(report->repair_failure->kind == ErrorKind::kSystem);
      } else {
        CHECK(expect_error(report, {is_lower ? "lower.img" : "upper.img"}) == ErrorKind::kSystem);
      }
      CHECK(images.upper_bytes() == bytes);
    }
  }
}

TEST_CASE("Check: damage of the lower is no violation of the upper", "[check]") {
  Images images;
  images.miscount_free_blocks();
  const auto bytes = images.upper_bytes();
  const auto root = value_of(read_inode(images.lower.volume, kRootDirectory));
  const uint64_t entries =
      images.lower.layout().offset_of(*images.lower.volume.file_block(root.pointer(0)));
  constexpr uint64_t kOffsetOfSize = 4;  // rec_len of the first entry
  images.lower.file->put(entries + kOffsetOfSize, Le16(3));
  for (const CheckPurpose purpose : {CheckPurpose::kLook, CheckPurpose::kRepair}) {
    const auto report = images.check(purpose);
    CHECK(expect_error(report, {"lower.img", "rec_len", "the lower is damaged"}) ==
          ErrorKind::kInvalid);
    CHECK(images.upper_bytes() == bytes);
  }
}

TEST_CASE("Check: a damaged resize inode is no violation of the upper", "[check]") {
  MakeOptions options;
  options.block_size_bytes = kBlock;
  options.features = "resize_inode,filetype,sparse_super";
  Images images(RealImage(4096, options), 16 * kMebibyte);
  REQUIRE(value_of(images.check(CheckPurpose::kLook)).found.empty());
  const Volume& lower = images.lower.volume;
  const InodeNumber inode(ext2::kResizeInode);
  InodeRecord resize = value_of(read_inode(lower, inode));
  resize.raw().i_block[ext2::kDoubleIndirectSlot] = 1;  // the superblock
  images.lower.file->poke(inode_offset(lower.layout(), lower.groups(), inode), resize.bytes());
  CHECK(expect_error(images.check(CheckPurpose::kRepair),
                     {"lower.img: resize inode", "the lower is damaged"}) == ErrorKind::kInvalid);
}

TEST_CASE("Check: a name that the lower's index leads past is damage of the lower", "[check]") {
  const ScratchDirectory content;
  for (int i = 0; i < 100; ++i) {
    write_file(content.path() / fmt::format("{}-{}", i, std::string(150, 'x')), "");
  }
  MakeOptions options;
  options.block_size_bytes = kBlock;
  options.content = content.path();
  const RealImage real(4096, options);
  real.repair({"-D"});  // which makes the index
  Images images(real, 16 * kMebibyte);
  REQUIRE(value_of(images.check(CheckPurpose::kLook)).found.empty());
  const auto root = value_of(read_inode(images.lower.volume, kRootDirectory));
  const uint64_t index =
      images.lower.layout().offset_of(*images.lower.volume.file_block(root.pointer(0)));
  constexpr uint64_t kSecondHash = 0x28;  // of the entry that leads to the second leaf
  images.lower.file->put(index + kSecondHash, Le32(2));
  CHECK(expect_error(images.check(CheckPurpose::kLook),
                     {"lower.img: directory inode 2: its index does not lead to the name",
                      "the lower is damaged"}) == ErrorKind::kInvalid);
}

// A repair that took such a block for names would make one that nobody can read.
TEST_CASE("Check: a block behind the end of a directory stays a violation", "[check]") {
  Images images;
  const uint64_t place = inode_offset(images.layout(), images.geometry.groups(), kRootDirectory);
  {
    const Volume volume = value_of(Volume::open(*images.upper, SuperblockUse::kUpper));
    InodeRecord root = value_of(read_inode(volume, kRootDirectory));
    root.raw().i_block[9] = static_cast<uint32_t>(images.layout().block_count - 1);
    images.upper->poke(place, root.bytes());
  }
  const CheckReport report = value_of(images.check(CheckPurpose::kRepair));
  CHECK(report.is_repair_tried);  // of the bits and counts that the block lacks
  CHECK_FALSE(report.repair_failure);
  REQUIRE(report.left.size() == 1);
  CHECK_THAT(report.left[0].message, Catch::Contains("inode 2: block ") &&
                                         Catch::Contains("is block 9 of a directory of 1"));
  const auto disk = open_disk(images.lower, *images.upper);
  std::vector<std::byte> block(kBlock);
  expect_success(disk->read(small_merged_size(kBlock) - kBlock, block));
}

TEST_CASE("Check: a session that no server would show is not repaired away", "[check]") {
  Images images;
  {
    const auto disk = open_disk(images.lower, *images.upper);
    expect_success(disk->write(small_merged_size(kBlock) - kBlock, pattern(1, kBlock)));
    expect_success(disk->close());
  }
  images.disown_root_block();
  const auto refused = Disk::load(*images.lower.image, *images.upper, kBootId, quiet_log());
  CHECK_FALSE(refused);
  const auto bytes = images.upper_bytes();
  const CheckReport report = value_of(images.check(CheckPurpose::kRepair));
  CHECK(report.is_repair_tried);
  REQUIRE(report.repair_failure);
  CHECK_THAT(report.repair_failure->message, Catch::Contains("a session is open"));
  CHECK(images.upper_bytes() == bytes);
}

}  // namespace
}  // namespace unionfs
