// SPDX-License-Identifier: BSD-3-Clause
//
// Layouts and group descriptors, against what dumpe2fs says of real images.
#include <functional>
#include <optional>
#include <sstream>

#include "fsparse/bitmap.h"
#include "fsparse/group_checksum.h"
#include "fsparse/volume.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs {
namespace {

using namespace testing;

// One group as dumpe2fs lists it.
struct ListedGroup {
  BlockRange blocks;
  std::optional<BlockNumber> superblock;
  BlockRange descriptors;
  BlockRange reserved;
  BlockNumber block_bitmap;
  BlockNumber inode_bitmap;
  BlockRange inode_table;
  uint64_t free_blocks = 0;
  uint64_t free_inodes = 0;
  uint64_t directories = 0;
};

BlockRange range_after(const std::string& line, const std::string& label) {
  const size_t found = line.find(label);
  if (found == std::string::npos) {
    return {};
  }
  // "at 12-34", "at 12 (+5)", "(Blocks 1-8192)"
  const std::string text = line.substr(found + label.size());
  const std::vector<uint64_t> numbers = numbers_in(text);
  const size_t digits = std::to_string(numbers.at(0)).size();
  const size_t begin = text.find_first_of("0123456789");
  const bool is_range = begin + digits < text.size() && text[begin + digits] == '-';
  return {BlockNumber(numbers.at(0)), BlockNumber(is_range ? numbers.at(1) + 1 : numbers[0] + 1)};
}

std::vector<ListedGroup> listed_groups(const std::string& dump) {
  std::vector<ListedGroup> groups;
  std::istringstream lines(dump);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("Group ") && line.find("(Blocks ") != std::string::npos) {
      groups.emplace_back().blocks = range_after(line, "(Blocks ");
    }
    if (groups.empty()) {
      continue;
    }
    ListedGroup& group = groups.back();
    const auto set = [&](const std::string& label, BlockRange& range) {
      if (line.find(label) != std::string::npos) {
        range = range_after(line, label);
      }
    };
    if (line.find("superblock at ") != std::string::npos) {
      group.superblock = range_after(line, "superblock at ").begin;
    }
    set("Group descriptors at ", group.descriptors);
    set("Group descriptor at ", group.descriptors);
    set("Reserved GDT blocks at ", group.reserved);
    set("Inode table at ", group.inode_table);
    if (line.find("Block bitmap at ") != std::string::npos) {
      group.block_bitmap = range_after(line, "Block bitmap at ").begin;
    }
    if (line.find("Inode bitmap at ") != std::string::npos) {
      group.inode_bitmap = range_after(line, "Inode bitmap at ").begin;
    }
    if (line.find(" free blocks, ") != std::string::npos) {
      const std::vector<uint64_t> numbers = numbers_in(line);
      group.free_blocks = numbers.at(0);
      group.free_inodes = numbers.at(1);
      group.directories = numbers.at(2);
    }
  }
  return groups;
}

void compare_group(const Volume& volume, GroupNumber number, const ListedGroup& listed) {
  const Layout& layout = volume.layout();
  const Group& group = volume.group(number);
  INFO("group " << number.value());
  CHECK(layout.blocks_of(number) == listed.blocks);
  CHECK(layout.has_superblock(number) == listed.superblock.has_value());
  if (listed.superblock) {
    CHECK(*listed.superblock == layout.blocks_of(number).begin);
  }
  const Layout::DescriptorCopy copy = layout.descriptor_copy(number);
  CHECK(copy.count == listed.descriptors.count());
  if (copy.count != 0) {
    CHECK(copy.first_block == listed.descriptors.begin);
  }
  CHECK(group.block_bitmap == listed.block_bitmap);
  CHECK(group.inode_bitmap == listed.inode_bitmap);
  CHECK(group.inode_table == listed.inode_table.begin);
  CHECK(layout.inode_table_block_count() == listed.inode_table.count());
  CHECK(group.free_blocks_count == listed.free_blocks);
  CHECK(group.free_inodes_count == listed.free_inodes);
  CHECK(group.used_dirs_count == listed.directories);
  for (BlockNumber block = listed.blocks.begin; block < listed.blocks.end; ++block) {
    const bool is_metadata = block == listed.superblock || listed.descriptors.contains(block) ||
                             listed.inode_table.contains(block) || block == listed.block_bitmap ||
                             block == listed.inode_bitmap;
    if (volume.is_metadata(block) != is_metadata ||
        volume.is_reserved_for_descriptors(block) != listed.reserved.contains(block)) {
      FAIL("block " << block.value());
    }
  }
}

// Every block that holds metadata is marked used, in the bitmap found for it.
void compare_bitmap(const Volume& volume, GroupNumber number) {
  std::vector<std::byte> bitmap(volume.layout().block_size_bytes);
  expect_success(volume.read_block(volume.group(number).block_bitmap, bitmap));
  const BlockRange blocks = volume.layout().blocks_of(number);
  CHECK(blocks.count() - count_bits(bitmap, 0, blocks.count()) ==
        volume.group(number).free_blocks_count);
  for (BlockNumber block = blocks.begin; block < blocks.end; ++block) {
    if ((volume.is_metadata(block) || volume.is_reserved_for_descriptors(block)) &&
        !test_bit(bitmap, block - blocks.begin)) {
      FAIL("block " << block.value() << " is not used");
    }
  }
}

struct Sample {
  const char* what;
  uint64_t block_count;
  MakeOptions options;
};

const std::vector<Sample>& samples() {
  static const std::vector<Sample> list = {
      {"1k", 30000, {}},
      {"2k", 20000, {.block_size_bytes = 2048}},
      {"4k, one short group", 3000, {.block_size_bytes = 4096, .inode_size_bytes = 256}},
      {"4k, many groups", 20000, {.block_size_bytes = 4096, .more = {"-g", "2048"}}},
      {"revision 0", 30000, {.more = {"-r", "0"}}},
      {"without resize_inode", 30000, {.features = "^resize_inode"}},
      {"without sparse_super", 30000, {.features = "^sparse_super,^resize_inode"}},
      {"bare", 30000, {.features = "none"}},
      {"stride", 30000, {.extended = "stride=16"}},
      {"odd inode count", 30000, {.more = {"-N", "1000"}}},
      {"powers of 3, 5 and 7", 30000, {.more = {"-g", "512"}}},
      {"several descriptor blocks", 30000, {.more = {"-g", "256"}}},
      {"meta_bg from the start",
       60000,
       {.features = "meta_bg,^resize_inode", .more = {"-g", "256"}}},
      {"meta_bg without sparse_super",
       60000,
       {.features = "meta_bg,^resize_inode,^sparse_super", .more = {"-g", "256"}}},
      {"meta_bg, incomplete meta group",
       17000,
       {.features = "meta_bg,^resize_inode", .more = {"-g", "512"}}},
      {"meta_bg, 4k",
       70000,
       {.features = "meta_bg,^resize_inode", .block_size_bytes = 4096, .more = {"-g", "256"}}},
      {"sparse_super2", 30000, {.features = "sparse_super2,^resize_inode"}},
      {"sparse_super2, one backup",
       30000,
       {.features = "sparse_super2,^resize_inode",
        .extended = "num_backup_sb=1",
        .more = {"-g", "512"}}},
      {"sparse_super2, no backup",
       30000,
       {.features = "sparse_super2,^resize_inode", .extended = "num_backup_sb=0"}},
      {"sparse_super2, one group", 3000, {.features = "sparse_super2,^resize_inode"}},
  };
  return list;
}

void compare_image(const RealImage& real) {
  const std::string dump = real.dumpe2fs();
  const MemoryImage image = real.load();
  const Volume volume = value_of(Volume::open(image, SuperblockUse::kLower));
  const std::vector<ListedGroup> listed = listed_groups(dump);
  REQUIRE(volume.groups().size() == listed.size());
  REQUIRE(volume.layout().group_count() == listed.size());
  // One read for the superblock and one per descriptor block.
  CHECK(image.read_count() == 1 + volume.layout().descriptor_block_count());
  for (uint32_t i = 0; i < listed.size(); ++i) {
    compare_group(volume, GroupNumber(i), listed[i]);
    compare_bitmap(volume, GroupNumber(i));
  }
}

}  // namespace

TEST_CASE("layouts agree with dumpe2fs", "[fsparse][groups]") {
  const size_t index = GENERATE(range(size_t{0}, samples().size()));
  const Sample& sample = samples()[index];
  INFO(sample.what);
  compare_image(RealImage(sample.block_count, sample.options));
}

TEST_CASE("groups have no bitmaps where a descriptor with a right checksum says so",
          "[fsparse][groups]") {
  const uint64_t block_count = GENERATE(30000, 200000);
  MemoryImage image = RealImage(block_count, {.features = "uninit_bg"}).load();
  ext2::Superblock& superblock = image.superblock();
  superblock.s_feature_incompat = superblock.s_feature_incompat | ext2::kIncompatWhiteout;
  const Layout layout = value_of(Superblock::read(image, SuperblockUse::kUpper)).layout();
  const uint64_t table = layout.offset_of(layout.primary_descriptor_block(0));
  const GroupChecksum checksum(superblock.s_uuid);
  const auto groups = [&] { return value_of(Volume::open(image, SuperblockUse::kUpper)).groups(); };
  uint32_t without_blocks = 0;
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    INFO("group " << number);
    auto& raw = image.edit<ext2::GroupDescriptor>(table + number * sizeof(ext2::GroupDescriptor));
    CHECK(checksum.of(GroupNumber(number), raw) == raw.bg_checksum);
    const Group group = groups()[number];
    CHECK(group.has_block_bitmap == ((raw.bg_flags & ext2::kGroupBlockUninit) == 0));
    CHECK(group.has_inode_bitmap == ((raw.bg_flags & ext2::kGroupInodeUninit) == 0));
    without_blocks += group.has_block_bitmap ? 0 : 1;
    raw.bg_checksum = static_cast<uint16_t>(raw.bg_checksum ^ 0x100);
    CHECK(groups()[number].has_block_bitmap);
    CHECK(groups()[number].has_inode_bitmap);
    raw.bg_checksum = static_cast<uint16_t>(raw.bg_checksum ^ 0x100);
  }
  CHECK(without_blocks > 0);
  // Without the feature the flags mean nothing.
  superblock.s_feature_ro_compat =
      superblock.s_feature_ro_compat & ~uint32_t{ext2::kRoCompatGdtCsum};
  for (const Group& group : groups()) {
    CHECK(group.has_block_bitmap);
    CHECK(group.has_inode_bitmap);
  }
}

TEST_CASE("an image grown by resize2fs has classic and meta groups", "[fsparse][groups]") {
  const RealImage real(8193, {.features = "^resize_inode", .more = {"-g", "256"}});
  // The one full descriptor block stays where it is; those to come are in meta groups.
  real.change({"feature meta_bg", "ssv first_meta_bg 1"});
  real.check_clean();
  std::filesystem::resize_file(real.path(), 60000 * 1024);
  run({"resize2fs", real.path().string(), "60000"});
  CHECK(number_after(real.dumpe2fs(), "First meta block group:") == 1);
  compare_image(real);
}

TEST_CASE("inodes lie where debugfs finds them", "[fsparse][groups]") {
  const uint32_t inode_size = GENERATE(128U, 256U, 512U);
  const RealImage real(30000, {.inode_size_bytes = inode_size});
  const MemoryImage image = real.load();
  const Volume volume = value_of(Volume::open(image, SuperblockUse::kLower));
  const Layout& layout = volume.layout();
  for (const uint32_t number : {1U, 2U, 11U, layout.inodes_per_group, layout.inodes_per_group + 1,
                                static_cast<uint32_t>(layout.inode_count())}) {
    const std::string output = real.debugfs(fmt::format("imap <{}>", number));
    const uint64_t block = number_after(output, "located at block");
    const uint64_t offset_in_block = std::stoul(output.substr(output.find("0x") + 2), nullptr, 16);
    CHECK(inode_offset(layout, volume.groups(), InodeNumber(number)) ==
          block * layout.block_size_bytes + offset_in_block);
    CHECK(layout.group_of(InodeNumber(number)).value() == number_after(output, "block group"));
  }
}

TEST_CASE("each descriptor field is refused out of its range", "[fsparse][groups]") {
  using D = ext2::GroupDescriptor;
  struct Damage {
    std::string part;
    std::function<void(D&)> apply;
  };
  const MemoryImage good = RealImage(20000, {}).load();
  const Volume volume = value_of(Volume::open(good, SuperblockUse::kLower));
  const uint32_t table = static_cast<uint32_t>(volume.group(GroupNumber(1)).inode_table.value());
  const uint32_t table_blocks = volume.layout().inode_table_block_count();
  const std::vector<Damage> damages = {
      {"bg_block_bitmap", [](D& d) { d.bg_block_bitmap = 0; }},
      {"bg_block_bitmap", [](D& d) { d.bg_block_bitmap = 8192; }},
      {"bg_block_bitmap", [](D& d) { d.bg_block_bitmap = 16385; }},
      {"bg_block_bitmap", [](D& d) { d.bg_block_bitmap = 0xffffffff; }},
      {"bg_inode_bitmap", [](D& d) { d.bg_inode_bitmap = 0; }},
      {"bg_inode_bitmap", [](D& d) { d.bg_inode_bitmap = 0xffffffff; }},
      {"bg_inode_table", [](D& d) { d.bg_inode_table = 0; }},
      {"bg_inode_table", [](D& d) { d.bg_inode_table = 0xffffffff; }},
      {"bg_inode_table", [&](D& d) { d.bg_inode_table = 16385 - table_blocks + 1; }},
      {"overlap", [](D& d) { d.bg_block_bitmap = 8193; }},  // the superblock's backup
      {"overlap", [](D& d) { d.bg_block_bitmap = 8194; }},  // descriptors
      {"overlap", [](D& d) { d.bg_block_bitmap = 8196; }},  // reserved for them
      {"overlap", [](D& d) { d.bg_block_bitmap = d.bg_inode_bitmap; }},
      {"overlap", [&](D& d) { d.bg_block_bitmap = table; }},
      {"overlap", [&](D& d) { d.bg_inode_bitmap = table + table_blocks - 1; }},
      {"bg_free_blocks_count", [](D& d) { d.bg_free_blocks_count = 8193; }},
      {"bg_free_inodes_count", [](D& d) { d.bg_free_inodes_count = 0xffff; }},
      {"bg_used_dirs_count", [](D& d) { d.bg_used_dirs_count = 0xffff; }},
  };
  for (const Damage& damage : damages) {
    MemoryImage image = good;
    damage.apply(image.edit<D>(2 * 1024 + sizeof(D)));  // group 1 in the primary copy
    INFO("expecting: " << damage.part);
    expect_error(Volume::open(image, SuperblockUse::kLower), {"lower.img: group 1: ", damage.part});
  }
}

TEST_CASE("descriptors that cannot be read are an error", "[fsparse][groups]") {
  MemoryImage image = RealImage(20000, {}).load();
  image.fail(2048, 2049);
  const ErrorKind kind = expect_error(Volume::open(image, SuperblockUse::kLower), {"lower.img"});
  CHECK(kind == ErrorKind::kSystem);
}

TEST_CASE("blocks are read by number", "[fsparse][volume]") {
  const MemoryImage image = RealImage(20000, {.block_size_bytes = 2048}).load();
  const Volume volume = value_of(Volume::open(image, SuperblockUse::kLower));
  std::vector<std::byte> bytes(2048);
  expect_success(volume.read_block(BlockNumber(0), bytes));
  CHECK(bytes[1024 + 0x38] == std::byte{0x53});
  expect_success(volume.read_block(BlockNumber(19999), bytes));
  expect_error(volume.read_block(BlockNumber(20000), bytes),
               {"lower.img: block 20000 is outside the image (20000 blocks)"});
  expect_error(volume.read_block(BlockNumber(~uint64_t{0}), bytes), {"outside the image"});
  bytes.resize(1024);
  expect_error(volume.read_block(BlockNumber(1), bytes), {"1024 bytes, not 2048"});
  CHECK_FALSE(volume.file_block(ClaimedBlock(0)));
  CHECK(volume.file_block(ClaimedBlock(1)) == BlockNumber(1));
  CHECK_FALSE(volume.file_block(ClaimedBlock(20000)));
}

}  // namespace unionfs
