// SPDX-License-Identifier: BSD-3-Clause
//
// Superblocks: those of the real tools are taken, and each field at its
// extremes is refused with the image and the field named.
#include <functional>

#include "fsparse/superblock.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs {
namespace {

using namespace testing;

struct Damage {
  std::string part;  // of the message
  std::function<void(ext2::Superblock&)> apply;
};

// Damages a copy and wants it refused with "lower.img" and `part` in the message.
void refuse(const MemoryImage& good, const std::vector<Damage>& damages,
            SuperblockUse use = SuperblockUse::kLower) {
  for (const Damage& damage : damages) {
    MemoryImage image = good;
    damage.apply(image.superblock());
    INFO("expecting: " << damage.part);
    expect_error(Superblock::read(image, use), {"lower.img", damage.part});
    CHECK(image.read_count() <= 2);
  }
}

MemoryImage plain_image() {
  return RealImage(20000, {}).load();
}

}  // namespace

TEST_CASE("superblocks of the real tools are taken", "[fsparse][superblock]") {
  const uint32_t block_size = GENERATE(1024U, 2048U, 4096U);
  const uint32_t inode_size = GENERATE(128U, 256U, 1024U);
  const std::string revision = GENERATE("0", "1");
  if (revision == "0" && inode_size != 128) {
    return;  // revision 0 knows no other size
  }
  const RealImage real(
      6000,
      {.block_size_bytes = block_size, .inode_size_bytes = inode_size, .more = {"-r", revision}});
  const MemoryImage image = real.load();
  const Superblock superblock = value_of(Superblock::read(image, SuperblockUse::kLower));
  const Layout& layout = superblock.layout();
  const std::string dump = real.dumpe2fs();
  CHECK(layout.block_size_bytes == block_size);
  CHECK(layout.inode_size_bytes == inode_size);
  CHECK(layout.block_count == number_after(dump, "Block count:"));
  CHECK(layout.first_data_block == number_after(dump, "First block:"));
  CHECK(layout.blocks_per_group == number_after(dump, "Blocks per group:"));
  CHECK(layout.inodes_per_group == number_after(dump, "Inodes per group:"));
  CHECK(layout.inode_count() == number_after(dump, "Inode count:"));
  CHECK(layout.inode_table_block_count() == number_after(dump, "Inode blocks per group:"));
  CHECK(layout.size_bytes() == image.size_bytes());
  CHECK(uuid_text(superblock.raw().s_uuid) == "00112233-4455-6677-8899-aabbccddeeff");
  CHECK(image.read_count() == 1);
}

TEST_CASE("images that are none are refused", "[fsparse][superblock]") {
  MemoryImage image = plain_image();
  const uint64_t size_bytes = image.size_bytes();
  SECTION("cut in the last block") {
    image.cut(size_bytes - 1);
    expect_error(Superblock::read(image, SuperblockUse::kLower), {"lower.img: is cut short"});
  }
  SECTION("cut behind the superblock") {
    image.cut(2048);
    expect_error(Superblock::read(image, SuperblockUse::kLower), {"lower.img: is cut short"});
  }
  SECTION("cut in the superblock") {
    image.cut(GENERATE(0, 1, 1024, 2047));
    expect_error(Superblock::read(image, SuperblockUse::kLower), {"lower.img: is not an ext2"});
    CHECK(image.read_count() == 0);
  }
  SECTION("longer is fine") {
    image.cut(size_bytes + 12345);
    CHECK(value_of(Superblock::read(image, SuperblockUse::kLower)).layout().block_count == 20000);
  }
  SECTION("unreadable") {
    image.fail(1500, 1501);
    const ErrorKind kind = expect_error(Superblock::read(image, SuperblockUse::kLower),
                                        {"lower.img", "Input/output error"});
    CHECK(kind == ErrorKind::kSystem);
  }
}

TEST_CASE("each superblock field is refused out of its range", "[fsparse][superblock]") {
  using S = ext2::Superblock;
  refuse(plain_image(),
         {
             {"magic", [](S& s) { s.s_magic = 0; }},
             {"magic", [](S& s) { s.s_magic = 0xEF52; }},
             {"s_rev_level", [](S& s) { s.s_rev_level = 2; }},
             {"s_rev_level", [](S& s) { s.s_rev_level = 0xffffffff; }},
             {"s_log_block_size", [](S& s) { s.s_log_block_size = 3; }},
             {"s_log_block_size", [](S& s) { s.s_log_block_size = 32; }},
             {"s_log_block_size", [](S& s) { s.s_log_block_size = 0xffffffff; }},
             {"s_log_frag_size", [](S& s) { s.s_log_frag_size = 1; }},
             {"s_first_data_block", [](S& s) { s.s_first_data_block = 0; }},
             {"s_first_data_block", [](S& s) { s.s_first_data_block = 0xffffffff; }},
             {"s_blocks_per_group", [](S& s) { s.s_blocks_per_group = 0; }},
             {"s_blocks_per_group", [](S& s) { s.s_blocks_per_group = 56; }},
             {"s_blocks_per_group", [](S& s) { s.s_blocks_per_group = 8191; }},
             {"s_blocks_per_group", [](S& s) { s.s_blocks_per_group = 8200; }},
             {"s_blocks_per_group", [](S& s) { s.s_blocks_per_group = 0xfffffff8; }},
             {"s_frags_per_group", [](S& s) { s.s_frags_per_group = 0; }},
             {"s_inodes_per_group", [](S& s) { s.s_inodes_per_group = 0; }},
             {"s_inodes_per_group", [](S& s) { s.s_inodes_per_group = 8193; }},
             {"s_inodes_per_group", [](S& s) { s.s_inodes_per_group = 0xffffffff; }},
             {"s_blocks_count",
              [](S& s) {
                s.s_blocks_count = 0;
                s.s_r_blocks_count = 0;
              }},
             {"s_blocks_count", [](S& s) { s.s_blocks_count = 1; }},
             {"s_r_blocks_count", [](S& s) { s.s_r_blocks_count = 20001; }},
             {"s_free_blocks_count", [](S& s) { s.s_free_blocks_count = 20001; }},
             {"s_free_inodes_count", [](S& s) { s.s_free_inodes_count = s.s_inodes_count + 1; }},
             {"s_inodes_count", [](S& s) { s.s_inodes_count = s.s_inodes_count - 1; }},
             {"s_inodes_count", [](S& s) { s.s_inodes_count = 0xffffffff; }},
             {"s_inodes_count", [](S& s) { s.s_inodes_per_group = 8; }},
             {"s_inode_size", [](S& s) { s.s_inode_size = 0; }},
             {"s_inode_size", [](S& s) { s.s_inode_size = 64; }},
             {"s_inode_size", [](S& s) { s.s_inode_size = 192; }},
             {"s_inode_size", [](S& s) { s.s_inode_size = 2048; }},
             {"s_inode_size", [](S& s) { s.s_inode_size = 0xffff; }},
             {"s_first_ino", [](S& s) { s.s_first_ino = 10; }},
             {"s_first_ino", [](S& s) { s.s_first_ino = 0xffffffff; }},
             {"s_reserved_gdt_blocks", [](S& s) { s.s_reserved_gdt_blocks = 257; }},
             {"s_reserved_gdt_blocks",
              [](S& s) { s.s_feature_compat = s.s_feature_compat & ~ext2::kCompatResizeInode; }},
             {"meta_bg",
              [](S& s) { s.s_feature_incompat = s.s_feature_incompat | ext2::kIncompatMetaBg; }},
             {"s_first_meta_bg",
              [](S& s) {
                s.s_feature_compat = 0;
                s.s_reserved_gdt_blocks = 0;
                s.s_feature_incompat = s.s_feature_incompat | ext2::kIncompatMetaBg;
                s.s_first_meta_bg = 2;
              }},
             {"s_backup_bgs",
              [](S& s) {
                s.s_feature_compat = s.s_feature_compat | ext2::kCompatSparseSuper2;
                s.s_backup_bgs[1] = 3;
              }},
             {"inode table",
              [](S& s) {
                s.s_blocks_per_group = 64;
                s.s_frags_per_group = 64;
                s.s_inodes_per_group = 8192;
                s.s_inodes_count = 8192 * 313;
              }},
             {"is cut short", [](S& s) { s.s_blocks_count = 24576; }},
         });
}

TEST_CASE("a superblock of all ones or noise is refused", "[fsparse][superblock]") {
  MemoryImage image = plain_image();
  const ByteSpan bytes = image.bytes(1024, 1024);
  std::fill(bytes.begin(), bytes.end(), std::byte{0xff});
  image.superblock().s_magic = ext2::kMagic;
  expect_error(Superblock::read(image, SuperblockUse::kLower), {"lower.img", "s_rev_level"});
  image.superblock().s_rev_level = 1;
  expect_error(Superblock::read(image, SuperblockUse::kLower), {"lower.img: is an upper"});
  expect_error(Superblock::read(image, SuperblockUse::kUpper), {"lower.img", "features"});
}

TEST_CASE("features are refused by name", "[fsparse][superblock]") {
  using S = ext2::Superblock;
  refuse(plain_image(),
         {
             {"an ext3 image: unsupported features: has_journal",
              [](S& s) { s.s_feature_compat = s.s_feature_compat | 4; }},
             {"an ext3 image: unsupported features: has_journal, needs_recovery",
              [](S& s) {
                s.s_feature_compat = s.s_feature_compat | 4;
                s.s_feature_incompat = s.s_feature_incompat | 4;
              }},
             {"an ext4 image or newer: unsupported features: extent, 64bit, flex_bg",
              [](S& s) { s.s_feature_incompat = s.s_feature_incompat | 0x2c0; }},
             {"huge_file, metadata_csum",
              [](S& s) { s.s_feature_ro_compat = s.s_feature_ro_compat | 0x408; }},
             {"incompat 0x80000000",
              [](S& s) { s.s_feature_incompat = s.s_feature_incompat | 0x80000000; }},
             {"ro_compat 0x40000000",
              [](S& s) { s.s_feature_ro_compat = s.s_feature_ro_compat | 0x40000000; }},
             {"is an upper", [](S& s) { s.s_feature_incompat = s.s_feature_incompat | 0x20; }},
         });
  CHECK(feature_names(0x24, 0x22, 0x3) ==
        "has_journal, dir_index, filetype, whiteout, sparse_super, large_file");
  CHECK(feature_names(0, 0x80080802, 0) == "filetype, incompat 0x80080800");
  // Where the words are noise, the message still is one a person reads.
  CHECK(feature_names(~0U, ~0U, ~0U).size() < 600);
}

TEST_CASE("every feature bit but the known ones is refused", "[fsparse][superblock]") {
  const MemoryImage good = plain_image();
  for (uint32_t bit = 1; bit != 0; bit <<= 1) {
    INFO("bit " << bit);
    MemoryImage incompat = good;
    incompat.superblock().s_feature_incompat = bit;
    const bool is_known = bit == ext2::kIncompatFiletype;  // meta_bg: not with resize_inode
    CHECK(Superblock::read(incompat, SuperblockUse::kLower).has_value() == is_known);
    MemoryImage ro_compat = good;
    ro_compat.superblock().s_feature_ro_compat = bit;
    CHECK(Superblock::read(ro_compat, SuperblockUse::kLower).has_value() == (bit <= 4));
  }
}

TEST_CASE("an upper may have whiteouts", "[fsparse][superblock]") {
  MemoryImage image = plain_image();
  image.superblock().s_feature_incompat =
      image.superblock().s_feature_incompat | ext2::kIncompatWhiteout;
  CHECK(value_of(Superblock::read(image, SuperblockUse::kUpper)).layout().block_count == 20000);
  image.superblock().s_feature_incompat = image.superblock().s_feature_incompat | 0x40;
  expect_error(Superblock::read(image, SuperblockUse::kUpper), {"lower.img", "extent"});
}

TEST_CASE("descriptors with checksums are an upper's alone", "[fsparse][superblock]") {
  MemoryImage image = plain_image();
  image.superblock().s_feature_ro_compat =
      image.superblock().s_feature_ro_compat | ext2::kRoCompatGdtCsum;
  for (const SuperblockUse use :
       {SuperblockUse::kLower, SuperblockUse::kUpper, SuperblockUse::kMerged}) {
    expect_error(Superblock::read(image, use), {"lower.img", "uninit_bg"});
  }
  image.superblock().s_feature_incompat =
      image.superblock().s_feature_incompat | ext2::kIncompatWhiteout;
  CHECK(value_of(Superblock::read(image, SuperblockUse::kUpper)).layout().block_count == 20000);
  CHECK_FALSE(Superblock::read(image, SuperblockUse::kMerged));
}

TEST_CASE("an image that was not left clean is refused with advice", "[fsparse][superblock]") {
  using S = ext2::Superblock;
  refuse(plain_image(), {
                            {"not cleanly unmounted", [](S& s) { s.s_state = 0; }},
                            {"e2fsck -f lower.img", [](S& s) { s.s_state = 0; }},
                            {"marked as having errors", [](S& s) { s.s_state = 3; }},
                            {"marked as having errors", [](S& s) { s.s_state = 2; }},
                        });
}

TEST_CASE("features of revision 1 mean nothing in revision 0", "[fsparse][superblock]") {
  MemoryImage image = RealImage(6000, {.more = {"-r", "0"}}).load();
  image.superblock().s_feature_incompat = 0xffffffff;
  image.superblock().s_inode_size = 12345;
  const Superblock superblock = value_of(Superblock::read(image, SuperblockUse::kLower));
  CHECK(superblock.layout().inode_size_bytes == 128);
  CHECK_FALSE(superblock.layout().has_file_types);
  CHECK_FALSE(superblock.layout().has_meta_groups);
}

}  // namespace unionfs
