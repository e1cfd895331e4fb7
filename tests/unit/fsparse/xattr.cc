// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/xattr.h"

#include <cstring>
#include <map>
#include <random>

#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

std::map<std::string, std::string> by_name(const std::vector<Attribute>& attributes) {
  std::map<std::string, std::string> map;
  for (const Attribute& attribute : attributes) {
    map[attribute.full_name()] = {reinterpret_cast<const char*>(attribute.value.data()),
                                  attribute.value.size()};
  }
  CHECK(map.size() == attributes.size());
  return map;
}

// A block with "user.a" = "first" and "trusted.bb" = "second", by hand.
struct HandMade {
  std::vector<std::byte> block = std::vector<std::byte>(1024);

  HandMade() {
    header() = {ext2::kXattrMagic, 3, 1, 0, {}};
    entry(kFirst) = {1, ext2::kXattrIndexUser, 1024 - 8, 0, 5, 0};
    put(kFirst + 16, "a");
    put(1024 - 8, "first");
    entry(kSecond) = {2, ext2::kXattrIndexTrusted, 1024 - 16, 0, 6, 0};
    put(kSecond + 16, "bb");
    put(1024 - 16, "second");
  }
  static constexpr size_t kFirst = 32;
  static constexpr size_t kSecond = 52;
  static constexpr size_t kEnd = 72;

  ext2::XattrHeader& header() { return *reinterpret_cast<ext2::XattrHeader*>(block.data()); }
  ext2::XattrEntry& entry(size_t offset) {
    return *reinterpret_cast<ext2::XattrEntry*>(block.data() + offset);
  }
  void put(size_t offset, std::string_view text) {
    std::memcpy(block.data() + offset, text.data(), text.size());
  }
};

}  // namespace

TEST_CASE("attributes that debugfs set are read", "[fsparse][xattr]") {
  const uint32_t inode_size = GENERATE(128U, 256U, 512U);
  const RealImage real(4096, {.inode_size_bytes = inode_size});
  write_file(real.directory() / "content", "words");
  const std::map<std::string, std::string> expected = {
      {"user.colour", "green"},
      {"user.empty", ""},
      {"user.long", std::string(300, 'v')},
      {"trusted.overlay.opaque", "y"},
      {"security.selinux", "system_u:object_r:etc_t:s0"},
  };
  std::vector<std::string> requests = {"write " + (real.directory() / "content").string() + " f",
                                       "mkdir plain"};
  for (const auto& [name, value] : expected) {
    write_file(real.directory() / name, value);
    requests.push_back(fmt::format("ea_set -f {} f {}", (real.directory() / name).string(), name));
  }
  real.change(requests);
  real.check_clean();
  const OpenImage open(real.load());
  const InodeRecord file = open.inode("f");
  CHECK(by_name(value_of(read_attributes(open.volume, file))) == expected);
  const auto in_inode = value_of(inode_attributes(open.volume, file));
  const auto in_block = value_of(read_xattr_block(open.volume, file));
  CHECK(in_inode.empty() == (inode_size == 128));
  if (inode_size != 512) {
    REQUIRE(in_block.has_value());
    CHECK(in_block->reference_count == 1);
    CHECK(in_inode.size() + in_block->attributes.size() == expected.size());
  }
  CHECK(value_of(read_attributes(open.volume, open.inode("plain"))).empty());
  CHECK(value_of(read_xattr_block(open.volume, open.inode("plain"))) == std::nullopt);
}

TEST_CASE("the prefixes are known", "[fsparse][xattr]") {
  CHECK(xattr_prefix(2) == "system.posix_acl_access");
  CHECK(xattr_prefix(3) == "system.posix_acl_default");
  CHECK(xattr_prefix(6) == "security.");
  CHECK(xattr_prefix(0) == std::nullopt);
  CHECK(xattr_prefix(255) == std::nullopt);
  CHECK(Attribute{2, "", {}}.full_name() == "system.posix_acl_access");
  CHECK(Attribute{1, "colour", {}}.full_name() == "user.colour");
  CHECK(Attribute{99, "x", {}}.full_name() == "index 99.x");
}

TEST_CASE("a block made by hand is read", "[fsparse][xattr]") {
  HandMade made;
  const XattrBlock parsed = value_of(parse_xattr_block(made.block, "here"));
  CHECK(parsed.reference_count == 3);
  CHECK(parsed.attributes ==
        std::vector<Attribute>{{ext2::kXattrIndexUser, "a", bytes_of("first")},
                               {ext2::kXattrIndexTrusted, "bb", bytes_of("second")}});
}

TEST_CASE("each field of an xattr block is refused out of its range", "[fsparse][xattr]") {
  struct Damage {
    std::string part;
    std::function<void(HandMade&)> apply;
  };
  constexpr size_t kFirst = HandMade::kFirst;
  constexpr size_t kSecond = HandMade::kSecond;
  const std::vector<Damage> damages = {
      {"magic 0x00000000", [](HandMade& m) { m.header().h_magic = 0; }},
      {"h_blocks is 0", [](HandMade& m) { m.header().h_blocks = 0; }},
      {"h_blocks is 4294967295", [](HandMade& m) { m.header().h_blocks = 0xffffffff; }},
      {"h_refcount is 0", [](HandMade& m) { m.header().h_refcount = 0; }},
      {"attribute at 32: e_value_block is 9",
       [](HandMade& m) { m.entry(kFirst).e_value_block = 9; }},
      {"attribute at 32: e_value_offs 1020 with e_value_size 5 is outside",
       [](HandMade& m) { m.entry(kFirst).e_value_offs = 1020; }},
      {"e_value_offs 65535", [](HandMade& m) { m.entry(kFirst).e_value_offs = 0xffff; }},
      {"e_value_size 9 is outside", [](HandMade& m) { m.entry(kFirst).e_value_size = 9; }},
      {"e_value_size 4294967295", [](HandMade& m) { m.entry(kFirst).e_value_size = 0xffffffff; }},
      {"value at 1008 overlaps another", [](HandMade& m) { m.entry(kFirst).e_value_offs = 1008; }},
      {"value at 1012 overlaps another", [](HandMade& m) { m.entry(kFirst).e_value_offs = 1012; }},
      {"value at 0 overlaps the list", [](HandMade& m) { m.entry(kFirst).e_value_offs = 0; }},
      {"value at 52 overlaps the list", [](HandMade& m) { m.entry(kFirst).e_value_offs = 52; }},
      {"value at 72 overlaps the list",  // the end mark
       [](HandMade& m) { m.entry(kFirst).e_value_offs = HandMade::kEnd; }},
      {"name has a NUL", [](HandMade& m) { m.entry(kSecond).e_name_len = 3; }},
      {"", [](HandMade& m) { m.entry(kSecond).e_name_len = 255; }},
  };
  for (const Damage& damage : damages) {
    HandMade made;
    damage.apply(made);
    INFO("expecting: " << damage.part);
    expect_error(parse_xattr_block(made.block, "lower.img: inode 12"),
                 {"lower.img: inode 12: ", damage.part});
  }
}

TEST_CASE("a list that fills the block must still end", "[fsparse][xattr]") {
  HandMade made;
  std::fill(made.block.begin() + 32, made.block.end(), std::byte{0});
  size_t offset = 32;
  for (; offset + 16 + 4 <= 1024 - 16; offset += 20) {
    made.entry(offset) = {1, ext2::kXattrIndexUser, 0, 0, 0, 0};
    made.put(offset + 16, "n");
  }
  CHECK(value_of(parse_xattr_block(made.block, "here")).attributes.size() == 48);
  const auto expect = [&](size_t size_bytes, const std::string& part) {
    expect_error(parse_xattr_block(std::span(made.block).first(size_bytes), "here"), {part});
  };
  expect(offset + 2, fmt::format("attribute at {}: e_name_len 1 does not fit", offset - 20));
  made.entry(offset) = {1, ext2::kXattrIndexUser, 0, 0, 0, 0};
  expect(offset + 16, "e_name_len 1 does not fit");
  expect(offset + 8, "only 8 bytes are left");
  expect(34, "has no end mark");
  expect_error(parse_xattr_block(std::span(made.block).first(20), "here"), {"only 20 bytes long"});
}

TEST_CASE("attributes in noise are read or refused", "[fsparse][xattr]") {
  const uint32_t seed = Catch::rngSeed();
  INFO("replay with --rng-seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 5000; ++round) {
    HandMade made;
    for (int i = 0; i < 5; ++i) {
      made.block[32 + random() % 44] = static_cast<std::byte>(random());
    }
    const auto parsed = parse_xattr_block(made.block, "here");
    if (parsed) {
      size_t total = 0;
      for (const Attribute& attribute : parsed->attributes) {
        total += attribute.value.size() + attribute.name.size();
      }
      REQUIRE(total < 1024);
    }
  }
}

TEST_CASE("attributes in an inode of a wrong shape are refused", "[fsparse][xattr]") {
  const RealImage real(4096, {.inode_size_bytes = 256});
  write_file(real.directory() / "content", "words");
  real.change({"write " + (real.directory() / "content").string() + " f",
               "ea_set f user.colour green", "ea_set f user.size 12345"});
  OpenImage open(real.load());
  const InodeNumber number = open.inode("f").number();
  const ByteSpan record =
      open.image.bytes(inode_offset(open.volume.layout(), open.volume.groups(), number), 256);
  const auto read = [&] { return inode_attributes(open.volume, open.inode(number)); };
  REQUIRE(value_of(read()).size() == 2);
  const std::string where = fmt::format("lower.img: inode {}: ", number);
  constexpr size_t kFirst = 128 + 32 + 4;
  SECTION("i_extra_isize") {
    for (const int wrong : {1, 30, 132, 255}) {
      record[128] = static_cast<std::byte>(wrong);
      expect_error(read(), {where + fmt::format("i_extra_isize {} is not", wrong)});
    }
  }
  SECTION("no extra part") {
    record[128] = std::byte{0};
    CHECK(value_of(read()).empty());
    record[128] = std::byte{128};
    CHECK(value_of(read()).empty());
  }
  SECTION("no magic") {
    record[128 + 32] = std::byte{1};
    CHECK(value_of(read()).empty());
  }
  SECTION("a value outside") {
    record[kFirst + 2] = std::byte{0xf0};
    expect_error(read(), {where + "attribute at 164: e_value_offs 240"});
  }
  SECTION("a value in the list") {
    record[kFirst + 2] = std::byte{0};
    expect_error(read(), {where + "attribute value at 164 overlaps the list"});
  }
  SECTION("a name without end") {
    record[kFirst] = std::byte{0xff};
    expect_error(read(), {where + "attribute at 164: e_name_len 255 does not fit"});
  }
}

TEST_CASE("i_file_acl must name a block of the image", "[fsparse][xattr]") {
  const RealImage real(4096, {});
  real.change({"mkdir d", "ea_set d user.colour green"});
  OpenImage open(real.load());
  ext2::Inode& raw = open.raw(open.inode("d").number());
  REQUIRE(raw.i_file_acl != 0);
  const auto expect = [&](uint32_t value, const std::string& part) {
    raw.i_file_acl = value;
    expect_error(read_attributes(open.volume, open.inode("d")), {"lower.img: inode 12: ", part});
  };
  expect(4096, "block 4096 is outside the image (4096 blocks)");
  expect(0xffffffff, "is outside the image");
  expect(1, "metadata");
  expect(3000, "xattr block 3000: magic");
}

}  // namespace unionfs
