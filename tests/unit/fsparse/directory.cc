// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/directory.h"

#include <cstring>
#include <random>
#include <sstream>

#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

constexpr DirectoryRules kLowerRules = {100, true, false};
constexpr DirectoryRules kUpperRules = {100, true, true};
const DirectoryPlace kPlace = {"lower.img", InodeNumber(2), BlockNumber(77)};

// Puts an entry at `offset` of a block; returns the offset behind it.
uint32_t put(ByteSpan block, uint32_t offset, uint32_t inode, uint32_t size_bytes,
             std::string_view name, uint8_t file_type) {
  ext2::DirectoryEntry raw;
  raw.inode = inode;
  raw.rec_len = static_cast<uint16_t>(size_bytes);
  raw.name_len = static_cast<uint8_t>(name.size());
  raw.file_type = file_type;
  std::memcpy(block.data() + offset, &raw, sizeof(raw));
  std::memcpy(block.data() + offset + sizeof(raw), name.data(), name.size());
  return offset + size_bytes;
}

// ".", "..", "a", free space.
std::vector<std::byte> small_block() {
  std::vector<std::byte> block(1024);
  uint32_t offset = put(block, 0, 2, 12, ".", 2);
  offset = put(block, offset, 2, 12, "..", 2);
  offset = put(block, offset, 12, 40, "a", 1);
  put(block, offset, 0, 1024 - offset, "gone", 1);
  return block;
}

Result<std::vector<EntryView>> entries(ConstByteSpan block, const DirectoryRules& rules) {
  std::vector<EntryView> list;
  UNIONFS_TRY(for_each_entry(block, rules, kPlace, [&](const EntryView& entry) {
    list.push_back(entry);
    return EntryStep::kContinue;
  }));
  return list;
}

// As debugfs lists them: "/inode/mode/uid/gid/name/size/".
std::vector<std::string> listed(const RealImage& real, const std::string& name) {
  std::vector<std::string> list;
  std::istringstream lines(real.debugfs("ls -p " + name));
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> fields;
    std::istringstream parts(line);
    for (std::string field; std::getline(parts, field, '/');) {
      fields.push_back(field);
    }
    if (fields.size() > 5 && fields[1] != "0") {  // else free space
      list.push_back(fields[1] + " " + fields[5]);
    }
  }
  return list;
}

// A directory of several blocks, with gaps where names were removed.
RealImage& busy_image(uint32_t block_size_bytes, const std::string& features) {
  static std::optional<RealImage> real;
  real.emplace(8192, MakeOptions{.features = features, .block_size_bytes = block_size_bytes});
  write_file(real->directory() / "content", "words");
  std::vector<std::string> requests = {"mkdir busy", "cd busy", "symlink link target",
                                       "mknod fifo p", "mkdir below"};
  for (int i = 0; i < 120; ++i) {
    const std::string name = fmt::format("{:0{}}", i, 1 + i * 2);
    requests.push_back("write " + (real->directory() / "content").string() + " " + name);
  }
  for (int i = 0; i < 120; i += 7) {
    requests.push_back(fmt::format("rm {:0{}}", i, 1 + i * 2));
  }
  real->change(requests);
  real->check_clean();
  return *real;
}

}  // namespace

TEST_CASE("directories agree with debugfs", "[fsparse][directory]") {
  const uint32_t block_size = GENERATE(1024U, 2048U, 4096U);
  const std::string features = GENERATE("", "^filetype");
  const RealImage& real = busy_image(block_size, features);
  const OpenImage open(real.load());
  const InodeRecord busy = open.inode("busy");
  std::vector<std::string> found;
  std::vector<std::byte> bytes(block_size);
  for (const NamedEntry& entry : value_of(read_directory(open.volume, busy))) {
    found.push_back(fmt::format("{} {}", entry.inode, entry.name));
    CHECK(entry.kind == EntryKind::kReal);
    CHECK(entry.file_type ==
          (features.empty() ? open.inode(entry.inode).file_type() : ext2::kFileTypeUnknown));
    CHECK(value_of(find_name(open.volume, busy, entry.name)) == entry);
    CHECK(value_of(map_block(open.volume, busy, entry.file_block)) == entry.block);
  }
  CHECK(found == listed(real, "busy"));
  CHECK(found.size() == 2 + 3 + 120 - 18);
  CHECK(busy.size_bytes() > block_size);
  CHECK(value_of(find_name(open.volume, busy, "nothing")) == std::nullopt);
  CHECK(value_of(find_name(open.volume, busy, "")) == std::nullopt);
  CHECK(value_of(find_name(open.volume, busy, std::string(300, 'x'))) == std::nullopt);
}

TEST_CASE("names lie where debugfs finds them", "[fsparse][directory]") {
  const RealImage& real = busy_image(1024, "");
  const OpenImage open(real.load());
  const InodeRecord busy = open.inode("busy");
  for (const std::string& name :
       {std::string("."), std::string(".."), std::string("link"), fmt::format("{:037}", 18)}) {
    const auto found = value_of(find_name(open.volume, busy, name));
    const std::string output = real.debugfs("dirsearch busy " + name);
    INFO(name << ": " << output);
    REQUIRE(found.has_value());
    CHECK(found->file_block.value() == number_after(output, "logical block"));
    CHECK(found->block.value() == number_after(output, "phys"));
    CHECK(found->offset == number_after(output, ", offset"));
  }
}

TEST_CASE("one block's entries, free space among them", "[fsparse][directory]") {
  const std::vector<std::byte> block = small_block();
  const auto list = value_of(entries(block, kLowerRules));
  REQUIRE(list.size() == 4);
  CHECK(list[1].name == "..");
  CHECK(list[2].offset == 24);
  CHECK(list[2].size_bytes == 40);
  CHECK(list[2].spare_bytes() == 28);
  CHECK(list[2].inode == InodeNumber(12));
  CHECK(list[2].file_type == 1);
  CHECK(list[3].kind == EntryKind::kFree);
  CHECK(list[3].name.empty());
  CHECK(list[3].spare_bytes() == 960);
}

TEST_CASE("whiteouts and fallthrus are told apart where they can be", "[fsparse][directory]") {
  std::vector<std::byte> block(1024);
  uint32_t offset = put(block, 0, 0, 20, "white", ext2::kFileTypeWhiteout);
  offset = put(block, offset, 0, 20, "through", ext2::kFileTypeFallthru);
  offset = put(block, offset, 0, 20, "free", ext2::kFileTypeRegular);
  put(block, offset, 5, 1024 - offset, "real", ext2::kFileTypeRegular);
  const auto upper = value_of(entries(block, kUpperRules));
  CHECK(upper[0].kind == EntryKind::kWhiteout);
  CHECK(upper[0].name == "white");
  CHECK(upper[1].kind == EntryKind::kFallthru);
  CHECK(upper[1].name == "through");
  CHECK(upper[2].kind == EntryKind::kFree);
  CHECK(upper[3].kind == EntryKind::kReal);
  const auto lower = value_of(entries(block, kLowerRules));
  CHECK(lower[0].kind == EntryKind::kFree);
  CHECK(lower[1].kind == EntryKind::kFree);
  CHECK(lower[3].kind == EntryKind::kReal);

  put(block, 0, 5, 20, "white", ext2::kFileTypeWhiteout);  // with an inode
  expect_error(entries(block, kUpperRules), {"entry at 0: inode 5 with file_type 8"});
  put(block, 0, 0, 20, "w/ite", ext2::kFileTypeWhiteout);
  expect_error(entries(block, kUpperRules), {"slash"});
  put(block, 0, 0, 20, "", ext2::kFileTypeFallthru);
  expect_error(entries(block, kUpperRules), {"name is empty"});
}

TEST_CASE("an entry is rewritten in place", "[fsparse][directory]") {
  std::vector<std::byte> block = small_block();
  rewrite_entry(block, 24, InodeNumber(0), ext2::kFileTypeFallthru);
  const auto list = value_of(entries(block, kUpperRules));
  CHECK(list[2].kind == EntryKind::kFallthru);
  CHECK(list[2].name == "a");
  CHECK(list[2].size_bytes == 40);
  rewrite_entry(block, 24, InodeNumber(12), ext2::kFileTypeRegular);
  CHECK(block == small_block());
}

TEST_CASE("a visitor stops and fails", "[fsparse][directory]") {
  const std::vector<std::byte> block = small_block();
  int seen = 0;
  expect_success(for_each_entry(block, kLowerRules, kPlace, [&](const EntryView& entry) {
    ++seen;
    return entry.name == ".." ? EntryStep::kStop : EntryStep::kContinue;
  }));
  CHECK(seen == 2);
  const auto fail = [](const EntryView&) -> Result<EntryStep> { return invalid("enough"); };
  expect_error(for_each_entry(block, kLowerRules, kPlace, fail), {"enough"});
}

TEST_CASE("each field of an entry is refused out of its range", "[fsparse][directory]") {
  struct Damage {
    std::string part;
    std::function<void(ext2::DirectoryEntry&, ByteSpan)> apply;
  };
  using E = ext2::DirectoryEntry;
  const std::vector<Damage> damages = {
      {"rec_len 0 is not a multiple of 4 from 12 to 1000", [](E& e, ByteSpan) { e.rec_len = 0; }},
      {"rec_len 4 ", [](E& e, ByteSpan) { e.rec_len = 4; }},
      {"rec_len 8 ", [](E& e, ByteSpan) { e.rec_len = 8; }},
      {"rec_len 13 ", [](E& e, ByteSpan) { e.rec_len = 13; }},
      {"rec_len 38 ", [](E& e, ByteSpan) { e.rec_len = 38; }},
      {"rec_len 1004 ", [](E& e, ByteSpan) { e.rec_len = 1004; }},
      {"rec_len 65532 ", [](E& e, ByteSpan) { e.rec_len = 0xfffc; }},
      {"rec_len 65535 ", [](E& e, ByteSpan) { e.rec_len = 0xffff; }},
      {"name_len 33 does not fit rec_len 40", [](E& e, ByteSpan) { e.name_len = 33; }},
      {"name_len 255 does not fit rec_len 40", [](E& e, ByteSpan) { e.name_len = 255; }},
      {"name is empty", [](E& e, ByteSpan) { e.name_len = 0; }},
      {"name has a slash or a NUL", [](E& e, ByteSpan) { e.name_len = 2; }},
      {"name has a slash or a NUL", [](E&, ByteSpan block) { block[32] = std::byte{'/'}; }},
      {"inode 101 is over 100", [](E& e, ByteSpan) { e.inode = 101; }},
      {"inode 4294967295 is over 100", [](E& e, ByteSpan) { e.inode = 0xffffffff; }},
  };
  for (const Damage& damage : damages) {
    std::vector<std::byte> block = small_block();
    damage.apply(*reinterpret_cast<E*>(block.data() + 24), block);
    expect_error(entries(block, kLowerRules),
                 {"lower.img: inode 2: directory block 77: entry at 24: " + damage.part});
  }
  // Free space, too, must keep the chain whole.
  std::vector<std::byte> block = small_block();
  put(block, 24, 0, 20, "too long a name", 0);
  expect_error(entries(block, kLowerRules), {"name_len 15 does not fit rec_len 20"});
  // A rest too short for any entry.
  block = small_block();
  put(block, 64, 0, 1024 - 64 - 8, "", 0);
  put(block, 1016, 0, 8, "", 0);
  expect_error(entries(block, kLowerRules), {"entry at 1016: only 8 bytes are left"});
}

// The kernel leaves the byte as it finds it in a block that was something else.
TEST_CASE("without file types the type is no part of an entry", "[fsparse][directory]") {
  std::vector<std::byte> block = small_block();
  DirectoryRules rules = kLowerRules;
  rules.has_file_types = false;
  for (const uint8_t left_over : {uint8_t{0}, ext2::kFileTypeWhiteout, uint8_t{255}}) {
    for (const uint32_t offset : {0U, 12U, 24U, 64U}) {
      reinterpret_cast<ext2::DirectoryEntry*>(block.data() + offset)->file_type = left_over;
    }
    const auto found = value_of(entries(block, rules));
    REQUIRE(found.size() == 4);
    for (const auto& entry : found) {
      CHECK(entry.file_type == 0);
    }
  }
}

TEST_CASE("a whole block of noise ends", "[fsparse][directory]") {
  const uint32_t seed = Catch::rngSeed();
  INFO("replay with --rng-seed " << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> block = small_block();
    for (int i = 0; i < 4; ++i) {
      block[random() % 80] = static_cast<std::byte>(random());
    }
    uint64_t covered = 0;
    const auto result = for_each_entry(block, kUpperRules, kPlace, [&](const EntryView& entry) {
      covered += entry.size_bytes;
      return EntryStep::kContinue;
    });
    REQUIRE((!result || covered == 1024));
  }
}

TEST_CASE("directories of a wrong shape are refused", "[fsparse][directory]") {
  OpenImage open(busy_image(1024, "").load());
  const InodeRecord busy = open.inode("busy");
  ext2::Inode& raw = open.raw(busy.number());
  const auto expect = [&](std::initializer_list<std::string> parts) {
    expect_error(read_directory(open.volume, open.inode(busy.number())), parts);
    expect_error(find_name(open.volume, open.inode(busy.number()), "nothing"), parts);
  };
  const std::string where = fmt::format("lower.img: inode {}: ", busy.number());
  SECTION("size 0") {
    raw.i_size = 0;
    expect({where + "directory of 0 bytes"});
  }
  SECTION("odd size") {
    raw.i_size = raw.i_size + 1;
    expect({where + "directory of ", "not of blocks of 1024"});
  }
  SECTION("larger than the image") {
    raw.i_size = 0xfffffc00;
    expect({where + "directory of 4194303 blocks in an image of 8192"});
  }
  SECTION("larger than its blocks") {
    raw.i_size = raw.i_size + 1024;
    expect({where + "directory has a hole at file block"});
  }
  SECTION("a hole") {
    raw.i_block[2] = 0;
    expect({where + "directory has a hole at file block 2 of "});
  }
  SECTION("a block twice") {
    raw.i_block[2] = raw.i_block[1].value();
    expect({where + fmt::format("directory block {} is used twice", raw.i_block[1])});
  }
  SECTION("a file") {
    raw.i_mode = ext2::kModeRegular;
    expect({where + "is not a directory"});
  }
  SECTION("a pointer outside") {
    raw.i_block[1] = 900123;
    expect({where + "block 900123 is outside the image (8192 blocks)"});
  }
  SECTION("blocks behind the end are left alone") {
    raw.i_size = 1024;
    CHECK(value_of(read_directory(open.volume, open.inode(busy.number()))).size() < 60);
  }
}

}  // namespace unionfs
