// SPDX-License-Identifier: BSD-3-Clause
//
// Indexed directories made by e2fsck -D, for every hash the format knows.
#include "fsparse/htree.h"

#include <cstring>

#include "fsparse/block_map.h"
#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

// Long names with bytes above 127 fill leaves soon and hash differently with
// signed and unsigned chars.
std::string name_of(int number) {
  return fmt::format("{}-{}", number, std::string(150, number % 2 == 0 ? '\xe9' : 'x'));
}

// A directory "names" of that many files.
MemoryImage indexed_image(int count, const std::string& algorithm, const std::string& flags) {
  const ScratchDirectory content;
  std::filesystem::create_directory(content.path() / "names");
  for (int i = 0; i < count; ++i) {
    write_file(content.path() / "names" / name_of(i), "");
  }
  const RealImage real(16384, {.more = {"-N", "4096"}, .content = content.path()});
  run({"tune2fs", "-E", "hash_alg=" + algorithm, real.path().string()});
  real.change({"ssv flags " + flags});
  real.repair({"-D"});
  real.check_clean();
  return real.load();
}

// One for all tests that only damage copies: two levels, half md4, signed.
const MemoryImage& deep_image() {
  static const MemoryImage image = indexed_image(2500, "half_md4", "1");
  return image;
}

FileBlock first_leaf(const OpenImage& open, std::string_view name) {
  return value_of(index_leaves(open.volume, open.inode("names"), name)).at(0);
}

BlockNumber block_at(const OpenImage& open, FileBlock file_block) {
  const auto block = value_of(map_block(open.volume, open.inode("names"), file_block));
  REQUIRE(block.has_value());
  return *block;
}

IndexRoot root_of(OpenImage& open) {
  return value_of(parse_index_root(open.block(block_at(open, FileBlock(0))), 100000,
                                   {"lower.img", InodeNumber(12), FileBlock(0)}));
}

}  // namespace

TEST_CASE("every name is found through the index", "[fsparse][htree]") {
  const std::string algorithm = GENERATE("legacy", "half_md4", "tea");
  const std::string flags = GENERATE("1", "2");  // signed, unsigned
  const int count = GENERATE(60, 1000);          // one level, two levels
  CAPTURE(algorithm, flags, count);
  OpenImage open(indexed_image(count, algorithm, flags));
  const InodeRecord names = open.inode("names");
  REQUIRE(names.has_index());
  const IndexRoot root = root_of(open);
  CHECK(root.indirect_levels == (count == 60 ? 0 : 1));
  CHECK(root.hash_version == (algorithm == "legacy" ? 0 : algorithm == "half_md4" ? 1 : 2));
  const auto entries = value_of(read_directory(open.volume, names));
  REQUIRE(entries.size() == static_cast<size_t>(count) + 2);
  for (const NamedEntry& entry : entries) {
    open.image.reset_counters();
    const auto found = value_of(find_name(open.volume, names, entry.name));
    REQUIRE(found == entry);
    // Root, node and leaf, and a pointer block or two on the way to each: no scan.
    REQUIRE(open.image.read_count() <= 12);
    if (entry.name != "." && entry.name != "..") {
      REQUIRE(first_leaf(open, entry.name) == entry.file_block);
    }
  }
  open.image.reset_counters();
  CHECK(value_of(find_name(open.volume, names, "absent")) == std::nullopt);
  CHECK(open.image.read_count() <= 12);
}

TEST_CASE("the nodes of an index are those the root leads to", "[fsparse][htree]") {
  SECTION("two levels") {
    OpenImage open(deep_image());
    std::vector<FileBlock> wanted;
    for (const IndexSlot& slot : root_of(open).slots) {
      wanted.push_back(slot.block);
    }
    REQUIRE(wanted.size() > 1);
    CHECK(value_of(index_nodes(open.volume, open.inode("names"))) == wanted);
    open.block(block_at(open, FileBlock(0)))[ext2::kIndexRootInfoOffset + 4] = std::byte{77};
    expect_error(index_nodes(open.volume, open.inode("names")), {"hash_version 77"});
  }
  SECTION("one level") {
    const OpenImage open(indexed_image(60, "half_md4", "1"));
    CHECK(value_of(index_nodes(open.volume, open.inode("names"))).empty());
  }
}

TEST_CASE("hashes are debugfs' hashes", "[fsparse][htree]") {
  const std::string algorithm = GENERATE("legacy", "half_md4", "tea");
  const bool is_unsigned = GENERATE(false, true);
  const RealImage real(2048, {});
  real.change({fmt::format("ssv flags {}", is_unsigned ? 2 : 1)});
  const OpenImage open(real.load());
  const uint8_t version = algorithm == "legacy" ? 0 : algorithm == "half_md4" ? 1 : 2;
  for (const std::string& name : {std::string("a"), std::string("lost+found"),
                                  std::string("\xc3\xa9t\xc3\xa9"), std::string(255, '\xff')}) {
    const std::string output =
        real.debugfs(fmt::format("dx_hash -h {} -s 01234567-89ab-cdef-0123-456789abcdef \"{}\"",
                                 version + (is_unsigned ? ext2::kUnsignedHashOffset : 0), name));
    const uint64_t expected = std::stoul(output.substr(output.rfind(" is 0x") + 6), nullptr, 16);
    INFO(output);
    CHECK(value_of(name_hash(open.volume, version, name)) == expected);
  }
  expect_error(name_hash(open.volume, 3, "a"), {"lower.img: hash_version 3 is not known"});
}

TEST_CASE("names of one hash may go on in the next leaf", "[fsparse][htree]") {
  OpenImage open(deep_image());
  const InodeRecord names = open.inode("names");
  const IndexRoot root = root_of(open);
  const std::string name = name_of(500);
  const FileBlock leaf = first_leaf(open, name);
  const uint32_t hash = value_of(name_hash(open.volume, root.hash_version, name));
  // The slot behind the name's own, in the node that leads to it.
  for (const IndexSlot& slot : root.slots) {
    const BlockNumber node = block_at(open, slot.block);
    const auto slots = value_of(
        parse_index_node(open.block(node), 100000, {"lower.img", names.number(), slot.block}));
    for (size_t i = 0; i + 1 < slots.size(); ++i) {
      if (slots[i].block != leaf) {
        continue;
      }
      open.pointer(node, static_cast<uint32_t>(2 + 2 * (i + 1))) = hash | 1;
      const auto leaves = value_of(index_leaves(open.volume, names, name));
      CHECK(leaves == std::vector<FileBlock>{leaf, slots[i + 1].block});
      return;
    }
  }
  FAIL("the name was in the last leaf of a node");
}

TEST_CASE("names of one hash may go on in the next node", "[fsparse][htree]") {
  OpenImage open(deep_image());
  const InodeRecord names = open.inode("names");
  const IndexRoot root = root_of(open);
  REQUIRE(root.slots.size() > 1);
  const auto last_node =
      value_of(parse_index_node(open.block(block_at(open, root.slots[0].block)), 100000,
                                {"lower.img", names.number(), root.slots[0].block}));
  const auto next_node =
      value_of(parse_index_node(open.block(block_at(open, root.slots[1].block)), 100000,
                                {"lower.img", names.number(), root.slots[1].block}));
  for (const NamedEntry& entry : value_of(read_directory(open.volume, names))) {
    if (entry.file_block != last_node.back().block) {
      continue;
    }
    const uint32_t hash = value_of(name_hash(open.volume, root.hash_version, entry.name));
    const uint32_t place = (ext2::kIndexRootEntriesOffset + 8) / 4;
    open.pointer(block_at(open, FileBlock(0)), place) = hash | 1;
    const auto leaves = value_of(index_leaves(open.volume, names, entry.name));
    CHECK(leaves == std::vector<FileBlock>{last_node.back().block, next_node.front().block});
    return;
  }
  FAIL("no name in the last leaf of the first node");
}

TEST_CASE("a damaged index loses no name", "[fsparse][htree]") {
  struct Damage {
    std::string part;
    ErrorKind kind;
    uint32_t offset;  // in the root
    std::vector<uint8_t> bytes;
  };
  const std::vector<Damage> damages = {
      {"reserved_zero 7", ErrorKind::kCorrupt, 24, {7}},
      {"hash_version 3", ErrorKind::kUnsupported, 28, {3}},
      {"hash_version 255", ErrorKind::kUnsupported, 28, {255}},
      {"info_length 0", ErrorKind::kCorrupt, 29, {0}},
      {"info_length 255", ErrorKind::kCorrupt, 29, {255}},
      {"indirect_levels 2", ErrorKind::kUnsupported, 30, {2}},
      {"indirect_levels 255", ErrorKind::kUnsupported, 30, {255}},
      {"flags 0x1", ErrorKind::kUnsupported, 31, {1}},
      {"limit 0 is not 124", ErrorKind::kCorrupt, 32, {0, 0}},
      {"limit 65535 is not 124", ErrorKind::kCorrupt, 32, {255, 255}},
      {"count 0 is not from 1 to 124", ErrorKind::kCorrupt, 34, {0, 0}},
      {"count 125 is not", ErrorKind::kCorrupt, 34, {125, 0}},
      {"count 65535 is not", ErrorKind::kCorrupt, 34, {255, 255}},
      {"slot 0 leads to file block 0", ErrorKind::kCorrupt, 36, {0, 0, 0, 0}},
      {"slot 0 leads to file block 268435455", ErrorKind::kCorrupt, 36, {255, 255, 255, 255}},
      {"slot 2: hash 0x0 is below", ErrorKind::kCorrupt, 48, {0, 0, 0, 0}},
      {"does not begin with . and ..", ErrorKind::kCorrupt, 16, {40, 0}},
  };
  for (const Damage& damage : damages) {
    OpenImage open(deep_image());
    const InodeRecord names = open.inode("names");
    const ByteSpan root = open.block(block_at(open, FileBlock(0)));
    INFO("expecting: " << damage.part);
    for (size_t i = 0; i < damage.bytes.size(); ++i) {
      root[damage.offset + i] = std::byte{damage.bytes[i]};
    }
    CHECK(expect_error(index_leaves(open.volume, names, name_of(7)),
                       {"lower.img: inode ", ": index block 0: ", damage.part}) == damage.kind);
    if (damage.offset == 16) {
      continue;  // no directory block either
    }
    CHECK(value_of(find_name(open.volume, names, name_of(7))).has_value());
    CHECK(value_of(find_name(open.volume, names, "absent")) == std::nullopt);
  }
}

TEST_CASE("a damaged index node loses no name", "[fsparse][htree]") {
  struct Damage {
    std::string part;
    uint32_t offset;  // in every node
    uint8_t byte;
  };
  const Damage damage =
      GENERATE(Damage{"does not begin with a free entry", 0, 1},
               Damage{"does not begin with a free entry", 5, 2}, Damage{"limit 1 is not 127", 8, 1},
               Damage{"limit 383 is not 127", 9, 1}, Damage{"count 65", 11, 255},
               Damage{"slot 0 leads to file block 16777", 15, 1});
  OpenImage open(deep_image());
  const InodeRecord names = open.inode("names");
  for (const IndexSlot& slot : root_of(open).slots) {
    open.block(block_at(open, slot.block))[damage.offset] = std::byte{damage.byte};
  }
  CHECK(expect_error(index_leaves(open.volume, names, name_of(7)),
                     {"lower.img: inode ", ": index block ", damage.part}) == ErrorKind::kCorrupt);
  if (damage.offset > 5) {  // else no directory block either
    CHECK(value_of(find_name(open.volume, names, name_of(7))).has_value());
  }
}

TEST_CASE("an index that leads in circles ends", "[fsparse][htree]") {
  OpenImage open(deep_image());
  const InodeRecord names = open.inode("names");
  const IndexRoot root = root_of(open);
  const uint32_t hash = value_of(name_hash(open.volume, root.hash_version, name_of(7)));
  // Every slot of the root is of this hash, and leads to one node of the same kind.
  const auto fill = [&](ByteSpan block, uint32_t entries_offset, uint32_t target) {
    ext2::IndexEntry entry;
    entry.hash = hash | 1;
    entry.block = target;
    const auto limit = static_cast<uint16_t>((block.size() - entries_offset) / sizeof(entry));
    for (uint32_t i = 0; i < limit; ++i) {
      std::memcpy(block.data() + entries_offset + i * sizeof(entry), &entry, sizeof(entry));
    }
    const ext2::IndexCountLimit head = {limit, limit};
    std::memcpy(block.data() + entries_offset, &head, sizeof(head));
  };
  const auto node = static_cast<uint32_t>(root.slots[0].block.value());
  fill(open.block(block_at(open, FileBlock(0))), ext2::kIndexRootEntriesOffset, node);
  fill(open.block(block_at(open, FileBlock(node))), ext2::kIndexNodeEntriesOffset, node);
  open.image.reset_counters();
  expect_error(index_leaves(open.volume, names, name_of(7)), {"leads to more than 64 leaves"});
  CHECK(open.image.read_count() < 500);
}

TEST_CASE("an index that cannot be read is an error, not a scan", "[fsparse][htree]") {
  OpenImage open(deep_image());
  const InodeRecord names = open.inode("names");
  const uint64_t offset =
      open.volume.layout().offset_of(block_at(open, root_of(open).slots[0].block));
  open.image.fail(offset, offset + 1024);
  const auto found = find_name(open.volume, names, "absent");
  // Only where the name's hash leads to that node.
  if (!found) {
    CHECK(found.error().kind == ErrorKind::kSystem);
  }
  open.image.fail(open.volume.layout().offset_of(block_at(open, FileBlock(0))),
                  open.volume.layout().offset_of(block_at(open, FileBlock(0))) + 1024);
  CHECK(expect_error(find_name(open.volume, names, "absent"), {"lower.img"}) == ErrorKind::kSystem);
}

TEST_CASE("an index flag without the feature is not followed", "[fsparse][htree]") {
  MemoryImage image = deep_image();
  image.superblock().s_feature_compat =
      image.superblock().s_feature_compat & ~ext2::kCompatDirIndex;
  OpenImage open(image);
  const InodeRecord names = open.inode("names");
  const auto last = value_of(read_directory(open.volume, names)).back();
  open.image.reset_counters();
  CHECK(value_of(find_name(open.volume, names, last.name)) == last);
  CHECK(open.image.read_count() > last.file_block.value());  // all of them
}

}  // namespace unionfs
