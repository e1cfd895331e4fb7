// SPDX-License-Identifier: BSD-3-Clause
//
// What an image holds that was made of a tree, and where.
#include "overlay/base/make_base.h"

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>

#include "fsparse/directory.h"
#include "overlay/geometry/geometry.h"
#include "tests/unit/base/hand_made_tree.h"
#include "tests/unit/support/test_files.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

BaseOptions options_of(uint32_t block_size, uint32_t inode_size) {
  BaseOptions options;
  options.block_size_bytes = block_size;
  options.inode_size_bytes = inode_size;
  return options;
}

std::shared_ptr<const ReadableFile> spool_of(const std::string& bytes) {
  auto file = std::make_shared<MemoryFile>("spool");
  expect_success(file->resize(bytes.size()));
  file->poke(0, std::as_bytes(std::span(bytes)));
  return file;
}

// One of everything that a file can be.
HandMadeTree tree_of_everything() {
  HandMadeTree tree;
  tree.directory("dev");
  tree.special("dev/null", ext2::kModeCharDevice | 0666, 1, 3);
  tree.special("dev/large", ext2::kModeBlockDevice | 0600, 4095, 1048575);
  tree.special("dev/overlay", ext2::kModeCharDevice, 0, 0);
  tree.special("dev/fifo", ext2::kModeFifo | 0600);
  tree.special("dev/socket", ext2::kModeSocket | 0700);
  tree.symlink("fast", std::string(59, 'f'));
  tree.symlink("slow", std::string(60, 's'));
  tree.symlink("longest", std::string(1023, 'l'));
  tree.directory("files", 01777);
  tree.regular("files/empty");
  tree.regular("files/small", "a few bytes");
  tree.regular("files/direct", noise(40000, 1));
  tree.regular("files/indirect", noise(500000, 2));
  tree.regular("files/double", noise(5000000, 3)).state.mode = ext2::kModeRegular | 06755;
  tree.regular("files/sparse", sparse_bytes({{5000, 6000}, {10000000, 10000001}}, 20000000));
  tree.hard_link("link", "files/indirect");
  tree.regular(std::string(255, 'n'), "the longest name");
  tree.regular("odd \n\x80\xff\"*name", "a name of any bytes");
  tree.directory("lost+found", 0700);
  tree.regular("lost+found/#123", "what e2fsck found");
  return tree;
}

}  // namespace

TEST_CASE("a base holds all of a tree", "[base]") {
  const auto [block_size, inode_size] =
      GENERATE(std::pair(1024U, 128U), std::pair(2048U, 256U), std::pair(4096U, 128U),
               std::pair(4096U, 256U), std::pair(1024U, 1024U));
  CAPTURE(block_size, inode_size);
  const HandMadeTree tree = tree_of_everything();
  const MadeBase base(tree.tree, options_of(block_size, inode_size));
  base.check_holds(tree.tree);
  CHECK(base.facts().size_bytes == base.volume().layout().size_bytes());
  CHECK(base.facts().rounded_path.has_value() == (inode_size == 128));
}

TEST_CASE("a tree of nothing makes a base", "[base]") {
  const MadeBase base(FileTree(), {});
  CHECK(base.debugfs("stat /lost+found").find("Mode:  0700") != std::string::npos);
  const InodeRecord found = base.inode("lost+found");
  CHECK(found.number() == InodeNumber(11));
  CHECK(found.size_bytes() == 16384);
  CHECK(base.inode("").raw().i_links_count == 3U);
}

TEST_CASE("the order in which a tree was read, and what was stored of it, does not show",
          "[base]") {
  const auto make = [](bool forward, bool stores_zeros) {
    HandMadeTree tree;
    const std::vector<std::string> names = {"b", "a", "B", "\xc3\xa9", "c"};
    for (size_t index = 0; index < names.size(); ++index) {
      const std::string& name = forward ? names[index] : names[names.size() - 1 - index];
      tree.regular(name, name == "a" ? noise(9000, 1) : name);
      tree.file(name).state.attributes = {user_attribute("k", name)};
    }
    std::string content = noise(10000, 2) + std::string(200000, '\0') + "end";
    if (stores_zeros) {
      tree.regular("sparse", content);
    } else {
      tree.regular("sparse", bytes_of_spool(spool_of(noise(10000, 2) + "end"), 0,
                                            {{0, 10000}, {210000, 210003}}, 210003));
    }
    return MadeBase(tree.tree, {}).digest();
  };
  const auto digest = make(true, true);
  CHECK(make(false, true) == digest);
  CHECK(make(true, false) == digest);
}

TEST_CASE("the UUID says the content and nothing else", "[base]") {
  const auto uuid_of = [](const HandMadeTree& tree, const BaseOptions& options = {}) {
    return MadeBase(tree.tree, options).facts().uuid;
  };
  const HandMadeTree tree = tree_of_everything();
  const auto uuid = uuid_of(tree);
  CHECK((uuid[6] >> 4) == 8);
  CHECK((uuid[8] >> 6) == 2);
  BaseOptions options = options_of(1024, 128);
  options.label = "another";
  options.epoch = 1;
  options.size_bytes = uint64_t{1} << 30;
  CHECK(uuid_of(tree, options) == uuid);
  const std::vector<std::function<void(HandMadeTree&)>> changes = {
      [](HandMadeTree& other) { other.file("files/small").state.modified.nanoseconds ^= 1; },
      [](HandMadeTree& other) { other.file("files/small").state.group_id ^= 1; },
      [](HandMadeTree& other) { other.regular("files/small", "a few byteS"); },
      [](HandMadeTree& other) { other.symlink("fast", std::string(58, 'f')); },
      [](HandMadeTree& other) { other.hard_link("another link", "files/small"); },
      [](HandMadeTree& other) { other.file("dev").state.attributes = {user_attribute("", "v")}; },
  };
  for (const auto& change : changes) {
    HandMadeTree other = tree_of_everything();
    change(other);
    CHECK(uuid_of(other) != uuid);
  }
  options = {};
  options.uuid = std::array<uint8_t, 16>{1, 2, 3};
  CHECK(uuid_of(tree, options) == *options.uuid);
}

TEST_CASE("what has no time of its own has the epoch's, or the latest in the tree", "[base]") {
  HandMadeTree tree;
  TreeFile& file = tree.regular("file");
  file.state.modified = {1700000000, 5};
  BaseOptions options;
  options.epoch = GENERATE(std::optional<int64_t>(), std::optional<int64_t>(1234567890),
                           std::optional<int64_t>(-1));
  const auto expected =
      static_cast<uint32_t>(std::max<int64_t>(options.epoch.value_or(1700000000), 0));
  const MadeBase base(tree.tree, options);
  CHECK(base.inode("").raw().i_mtime == expected);
  CHECK(base.inode("lost+found").raw().i_mtime == expected);
  CHECK(base.inode("file").raw().i_mtime == 1700000000U);
  const ext2::Superblock& raw = base.volume().superblock().raw();
  CHECK(raw.s_mkfs_time == expected);
  CHECK(raw.s_wtime == expected);
  CHECK(raw.s_lastcheck == expected);
}

TEST_CASE("data lies in runs, and what moves with its places lies apart", "[base]") {
  HandMadeTree tree;
  for (int index = 0; index < 200; ++index) {
    tree.regular(fmt::format("{:03}", index), noise(12000, static_cast<uint32_t>(index)));
  }
  tree.regular("050", noise(65536, 50));
  tree.regular("070", noise(100000, 70));
  const MadeBase base(tree.tree, {});
  const auto first_block = [&](const std::string& name) {
    return value_of(map_block(base.volume(), base.inode(name), FileBlock(0))).value().value();
  };
  constexpr uint64_t kBlocksPerPiece = 16;
  uint64_t behind = 0;
  int full = 0;
  int runs = 0;
  for (int index = 0; index < 200; ++index) {
    if (index == 50 || index == 70) {
      continue;
    }
    const uint64_t here = first_block(fmt::format("{:03}", index));
    // No small file lies in two pieces.
    CHECK(here % kBlocksPerPiece + 3 <= kBlocksPerPiece);
    CHECK((here == behind || (here > behind && here % kBlocksPerPiece == 0)));
    if (here != behind) {
      const bool had_room = behind % kBlocksPerPiece + 3 <= kBlocksPerPiece;
      (had_room ? runs : full) += 1;
    }
    behind = here + 3;
  }
  CHECK(full > 30);
  CHECK(runs > 1);
  CHECK(runs < 10);
  // Each large file begins at a piece, behind the small ones.
  CHECK(first_block("050") % kBlocksPerPiece == 0);
  CHECK(first_block("050") >= behind);
  CHECK(first_block("070") == first_block("050") + kBlocksPerPiece);
  // Maps are in front of all data.
  CHECK(base.inode("070").pointer(ext2::kIndirectSlot).value() < first_block("000"));
  // Inodes follow path order, and skip numbers only in front of a multiple, counted from 1.
  InodeNumber last = base.inode("000").number();
  for (int index = 1; index < 200; ++index) {
    const InodeNumber number = base.inode(fmt::format("{:03}", index)).number();
    CHECK((number == last + 1 || (number > last && (number.value() - 1) % 32 == 0)));
    last = number;
  }
}

TEST_CASE("one file more leaves most pieces as they are", "[base]") {
  constexpr size_t kPieceSize = 65536;
  const auto pieces_with = [&](bool has_one_more) {
    HandMadeTree tree;
    for (int index = 0; index < 1200; ++index) {
      const auto seed = static_cast<uint32_t>(index);
      tree.regular(fmt::format("{:04}", index), noise(index % 9 == 0 ? 90000 : 9000, seed));
    }
    if (has_one_more) {
      tree.regular("0600x", noise(9000, 100000));
    }
    const std::vector<std::byte> bytes = MadeBase(tree.tree, {}).bytes();
    std::set<std::vector<std::byte>> pieces;
    // The size of an image is one of whole pieces.
    for (size_t offset = 0; offset < bytes.size(); offset += kPieceSize) {
      const ConstByteSpan piece = ConstByteSpan(bytes).subspan(offset, kPieceSize);
      pieces.emplace(piece.begin(), piece.end());
    }
    return pieces;
  };
  const auto before = pieces_with(false);
  const auto after = pieces_with(true);
  const auto shared =
      std::ranges::count_if(after, [&](const auto& piece) { return before.contains(piece); });
  CAPTURE(before.size(), after.size());
  CHECK(static_cast<size_t>(shared) * 100 >= after.size() * 95);
}

TEST_CASE("a large directory has an index, one of several levels too", "[base]") {
  HandMadeTree tree;
  const int count = GENERATE(100, 3000, 60000);
  CAPTURE(count);
  tree.directory("d");
  const std::string prefix(80, 'p');
  for (int index = 0; index < count; ++index) {
    tree.regular(fmt::format("d/{}{}", prefix, index));
  }
  const MadeBase base(tree.tree, options_of(1024, 128));
  base.check_holds(tree.tree);
  const InodeRecord directory = base.inode("d");
  CHECK(directory.has_index());
  for (const int index : {0, 7, count - 1}) {
    const auto found =
        value_of(find_name_by_index(base.volume(), directory, fmt::format("{}{}", prefix, index)));
    REQUIRE(found);
    CHECK(found->inode == base.inode(fmt::format("d/{}{}", prefix, index)).number());
  }
  CHECK_FALSE(value_of(find_name_by_index(base.volume(), directory, prefix)));
}

TEST_CASE("equal blocks of attributes are one, of 1024 files at most", "[base]") {
  HandMadeTree tree;
  for (int index = 0; index < 1030; ++index) {
    tree.regular(fmt::format("{}", index)).state.attributes = {user_attribute("label", "one")};
  }
  tree.regular("other").state.attributes = {user_attribute("label", "two")};
  const MadeBase base(tree.tree, options_of(1024, 128));
  base.check_holds(tree.tree);
  const auto block_of = [&](const std::string& name) { return base.inode(name).file_acl(); };
  CHECK(block_of("0") == block_of("1"));
  CHECK(block_of("0") != block_of("other"));
  CHECK(block_of("0") != block_of("999"));
}

TEST_CASE("attributes with names of any bytes, none and ACLs are in order", "[base]") {
  HandMadeTree tree;
  TreeFile& file = tree.regular("file");
  file.state.attributes = {user_attribute("\xc3\xa9t\xc3\xa9", "non-ASCII"),
                           user_attribute("z", ""), user_attribute("aaa", std::string(300, 'a')),
                           user_attribute("bb", std::string(300, 'b'))};
  // Version 1, one entry of the owner's: r--.
  file.state.attributes.push_back({ext2::kXattrIndexPosixAclAccess, "", std::vector<std::byte>(8)});
  sort_attributes(file.state.attributes);
  const uint32_t inode_size = GENERATE(128U, 256U);
  const MadeBase base(tree.tree, options_of(4096, inode_size));
  base.check_holds(tree.tree);
}

TEST_CASE("flags that only files and directories have go from others", "[base]") {
  constexpr uint32_t kImmutable = 0x10;
  constexpr uint32_t kNoDump = 0x40;
  HandMadeTree tree;
  tree.regular("file").state.user_flags = kImmutable | kNoDump;
  tree.special("fifo", ext2::kModeFifo).state.user_flags = kImmutable | kNoDump;
  const MadeBase base(tree.tree, {});
  CHECK(base.inode("file").raw().i_flags == (kImmutable | kNoDump));
  CHECK(base.inode("fifo").raw().i_flags == kNoDump);
}

TEST_CASE("a lost+found that is none stays what it is", "[base]") {
  HandMadeTree tree;
  tree.regular("lost+found", "a file");
  const MadeBase base(tree.tree, {});
  base.check_holds(tree.tree);
  CHECK(base.inode("lost+found").number() == InodeNumber(11));
}

TEST_CASE("a base can grow", "[base]") {
  const MadeBase base(tree_of_everything().tree, options_of(4096, 256));
  const Geometry grown = value_of(Geometry::grow(base.volume(), uint64_t{300} << 30));
  CHECK(grown.size_bytes() == uint64_t{300} << 30);
  CHECK(grown.released().empty());
}

namespace {

constexpr uint64_t kMebibyte = 1 << 20;

// Says something else from the second reading on.
class ChangingBytes final : public FileBytes {
 public:
  ChangingBytes(uint64_t first_end, uint64_t second_begin, uint64_t second_end)
      : first_end_(first_end), second_begin_(second_begin), second_end_(second_end) {}

  uint64_t size_bytes() const override { return uint64_t{1} << 30; }
  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    reading_ += offset == 0 ? 1 : 0;
    const ByteRange data =
        reading_ == 1 ? ByteRange{0, first_end_} : ByteRange{second_begin_, second_end_};
    return offset < data.end ? std::optional(ByteRange{std::max(data.begin, offset), data.end})
                             : std::nullopt;
  }
  Result<void> read(uint64_t, ByteSpan buffer) override {
    std::fill(buffer.begin(), buffer.end(), std::byte{1});
    return {};
  }

 private:
  uint64_t first_end_;
  uint64_t second_begin_;
  uint64_t second_end_;
  int reading_ = 0;
};

}  // namespace

TEST_CASE("a file that changes while it is read is an error", "[base]") {
  // Less, more, and as much in places that need other indirect blocks.
  const auto [first, begin, end] =
      GENERATE(std::tuple(2 * kMebibyte, uint64_t{0}, kMebibyte),
               std::tuple(kMebibyte, uint64_t{0}, 9 * kMebibyte),
               std::tuple(kMebibyte, 500 * kMebibyte, 501 * kMebibyte));
  HandMadeTree tree;
  tree.regular("file", std::make_unique<ChangingBytes>(first, begin, end));
  tree.regular("other", noise(100000, 1));
  MemoryFile out("base.img");
  CHECK(expect_error(make_base(tree.tree, out, {}),
                     {"\"file\"", "was changed while it was read"}) == ErrorKind::kInvalid);
}

TEST_CASE("a host without room is an error", "[base]") {
  const HandMadeTree tree = tree_of_everything();
  const uint64_t number = GENERATE(1, 2, 5, 9);
  MemoryFile memory("base.img");
  FaultyFile out(memory);
  out.fail(FileOperation::kWrite, number, ENOSPC);
  CHECK(expect_error(make_base(tree.tree, out, {}), {"base.img"}) == ErrorKind::kSystem);
}
