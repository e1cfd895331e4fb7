// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/block_map.h"

#include <fcntl.h>
#include <unistd.h>

#include <random>

#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

static_assert(max_file_blocks(256) == 12 + 256 + 256 * 256 + 256 * 256 * 256);
static_assert(path_of(256, FileBlock(11)) == BlockPath{11, 0, {}});
static_assert(path_of(256, FileBlock(12)) == BlockPath{12, 1, {0}});
static_assert(path_of(256, FileBlock(267)) == BlockPath{12, 1, {255}});
static_assert(path_of(256, FileBlock(268)) == BlockPath{13, 2, {0, 0}});
static_assert(path_of(256, FileBlock(65804)) == BlockPath{14, 3, {0, 0, 0}});
static_assert(path_of(256, FileBlock(16843019)) == BlockPath{14, 3, {255, 255, 255}});
static_assert(!path_of(256, FileBlock(16843020)));
static_assert(!path_of(256, FileBlock(~uint64_t{0})));
static_assert(path_of(256, BlockRole{3, FileBlock(65804)}) == BlockPath{14, 0, {}});
static_assert(path_of(256, BlockRole{1, FileBlock(65804 + 256)}) == BlockPath{14, 2, {0, 1}});
static_assert(!path_of(256, BlockRole{1, FileBlock(13)}));
static_assert(!path_of(256, BlockRole{2, FileBlock(12)}));
static_assert(!path_of(256, BlockRole{1, FileBlock(3)}));
static_assert(!path_of(256, BlockRole{4, FileBlock(65804)}));

struct Mapped {
  BlockRole role;
  BlockNumber block;
};

std::vector<Mapped> walked(const OpenImage& open, const InodeRecord& inode) {
  std::vector<Mapped> list;
  expect_success(walk_block_map(open.volume, inode, [&](BlockRole role, BlockNumber block) {
    list.push_back({role, block});
    return WalkStep::kContinue;
  }));
  return list;
}

Result<void> walk_all(const OpenImage& open, InodeNumber number) {
  return walk_block_map(open.volume, open.inode(number),
                        [](BlockRole, BlockNumber) { return WalkStep::kContinue; });
}

// File blocks at every edge of the tree, as far as the block size allows.
std::vector<uint64_t> edges(uint32_t block_size_bytes) {
  const uint64_t pointers = block_size_bytes / 4;
  const uint64_t double_begin = 12 + pointers;
  const uint64_t triple_begin = double_begin + pointers * pointers;
  const uint64_t end = max_file_blocks(static_cast<uint32_t>(pointers));
  return {0, 5, 11, 12, 13, double_begin - 1, double_begin, double_begin + pointers - 1,
          double_begin + pointers, triple_begin - 1, triple_begin, triple_begin + pointers,
          triple_begin + pointers * pointers,
          // The kernel's limit at 4 KiB is below the end of the map: i_blocks is 32 bits wide.
          block_size_bytes == 4096 ? uint64_t{1} << 28 : end - 1};
}

// A file with only these blocks, each holding its own number all over.
void write_sparse_file(const std::filesystem::path& path, uint32_t block_size_bytes,
                       const std::vector<uint64_t>& blocks) {
  const int file = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
  REQUIRE(file >= 0);
  for (const uint64_t block : blocks) {
    const std::vector<uint64_t> content(block_size_bytes / sizeof(block), block + 1);
    REQUIRE(pwrite(file, content.data(), block_size_bytes,
                   static_cast<off_t>(block * block_size_bytes)) == block_size_bytes);
  }
  close(file);
}

// A small image whose file "tree" has a triple indirect tree.
MemoryImage tree_image() {
  const RealImage real(2048, {});
  write_sparse_file(real.directory() / "tree", 1024, edges(1024));
  real.change({"write " + (real.directory() / "tree").string() + " tree"});
  return real.load();
}

}  // namespace

TEST_CASE("paths and roles lead to each other", "[fsparse][block_map]") {
  const uint32_t pointers = GENERATE(256U, 512U, 1024U);
  const uint32_t seed = Catch::rngSeed();
  INFO("replay with --rng-seed " << seed);
  std::mt19937_64 random(seed);
  std::vector<uint64_t> blocks = edges(pointers * 4);
  for (int i = 0; i < 2000; ++i) {
    blocks.push_back(random() % max_file_blocks(pointers));
  }
  for (const uint64_t number : blocks) {
    const auto path = path_of(pointers, FileBlock(number));
    REQUIRE(path.has_value());
    BlockRole role = role_of_slot(pointers, path->slot);
    REQUIRE(role.level == path->depth);
    for (uint32_t depth = 0; depth < path->depth; ++depth) {
      BlockPath above = {path->slot, depth, {}};
      std::copy_n(path->indices.begin(), depth, above.indices.begin());
      REQUIRE(path_of(pointers, role) == above);
      role = role_of_child(pointers, role, path->indices[depth]);
    }
    REQUIRE(role == BlockRole{0, FileBlock(number)});
  }
}

TEST_CASE("block maps agree with debugfs", "[fsparse][block_map]") {
  const uint32_t block_size = GENERATE(1024U, 2048U, 4096U);
  const std::vector<uint64_t> blocks = edges(block_size);
  const RealImage real(4096, {.block_size_bytes = block_size});
  write_sparse_file(real.directory() / "sparse", block_size, blocks);
  write_file(real.directory() / "dense", std::string(300 * block_size + 1, 'x'));
  real.change({"write " + (real.directory() / "sparse").string() + " sparse",
               "write " + (real.directory() / "dense").string() + " dense"});
  const OpenImage open(real.load());
  for (const std::string name : {"sparse", "dense"}) {
    const InodeRecord inode = open.inode(name);
    std::vector<uint64_t> in_order;
    uint64_t previous = 0;
    for (const Mapped& mapped : walked(open, inode)) {
      in_order.push_back(mapped.block.value());
      CHECK(value_of(map_block(open.volume, inode, mapped.role)) == mapped.block);
      CHECK(mapped.role.first.value() >= previous);
      previous = mapped.role.first.value();
    }
    CHECK(in_order == numbers_in(real.debugfs("blocks " + name)));
  }
  const InodeRecord sparse = open.inode("sparse");
  std::vector<std::byte> bytes(block_size);
  for (const uint64_t block : blocks) {
    const auto mapped = value_of(map_block(open.volume, sparse, FileBlock(block)));
    REQUIRE(mapped.has_value());
    CHECK(mapped->value() == numbers_in(real.debugfs(fmt::format("bmap sparse {}", block))).at(0));
    expect_success(open.volume.read_block(*mapped, bytes));
    uint64_t content;
    std::memcpy(&content, bytes.data() + block_size - sizeof(content), sizeof(content));
    CHECK(content == block + 1);
  }
  for (const uint64_t hole : {uint64_t{1}, uint64_t{14}, blocks.back() - 1}) {
    CHECK(value_of(map_block(open.volume, sparse, FileBlock(hole))) == std::nullopt);
  }
  expect_error(map_block(open.volume, sparse, FileBlock(max_file_blocks(block_size / 4))),
               {"lower.img: inode ", "no place"});
}

TEST_CASE("the resize inode's map is walked", "[fsparse][block_map]") {
  const RealImage real(30000, {});
  const OpenImage open(real.load());
  std::vector<uint64_t> blocks;
  for (const Mapped& mapped : walked(open, open.inode(InodeNumber(ext2::kResizeInode)))) {
    blocks.push_back(mapped.block.value());
  }
  CHECK(blocks == numbers_in(real.debugfs("blocks <7>")));
  CHECK(blocks.size() > 100);
}

TEST_CASE("bad blocks may lie in metadata", "[fsparse][block_map]") {
  const RealImage real(30000, {});
  OpenImage open(real.load());
  const BlockNumber table = open.volume.group(GroupNumber(2)).inode_table;
  open.raw(InodeNumber(1)).i_block[0] = static_cast<uint32_t>(table.value());
  CHECK(walked(open, open.inode(InodeNumber(1))).size() == 1);
  // But the list itself is read, so it may not.
  open.raw(InodeNumber(1)).i_block[12] = static_cast<uint32_t>(table.value());
  expect_error(walk_all(open, InodeNumber(1)), {"lower.img: inode 1: indirect block ", "metadata"});
}

TEST_CASE("files without a block map have no blocks", "[fsparse][block_map]") {
  const RealImage real(2048, {});
  real.change({"symlink fast " + std::string(59, 't'), "mknod device b 255 255"});
  OpenImage open(real.load());
  CHECK(walked(open, open.inode("fast")).empty());
  CHECK(walked(open, open.inode("device")).empty());
  CHECK(value_of(map_block(open.volume, open.inode("fast"), FileBlock(0))) == std::nullopt);
}

TEST_CASE("a visitor can skip, stop and fail", "[fsparse][block_map]") {
  OpenImage open(tree_image());
  const InodeRecord inode = open.inode("tree");
  open.image.reset_counters();
  std::vector<BlockRole> roles;
  SECTION("skip") {
    expect_success(walk_block_map(open.volume, inode, [&](BlockRole role, BlockNumber) {
      roles.push_back(role);
      return role.level > 1 ? WalkStep::kSkipBelow : WalkStep::kContinue;
    }));
    CHECK(open.image.read_count() == 1);  // the single indirect block
    CHECK(roles.back() == BlockRole{3, FileBlock(65804)});
    CHECK(roles[roles.size() - 2] == BlockRole{2, FileBlock(268)});
  }
  SECTION("stop below an indirect block") {
    expect_success(walk_block_map(open.volume, inode, [&](BlockRole role, BlockNumber) {
      roles.push_back(role);
      return role == BlockRole{0, FileBlock(268)} ? WalkStep::kStop : WalkStep::kContinue;
    }));
    CHECK(roles.back() == BlockRole{0, FileBlock(268)});
    CHECK(open.image.read_count() == 3);
  }
  SECTION("fail") {
    const auto fail = [](BlockRole role, BlockNumber) -> Result<WalkStep> {
      if (role.level == 1) {
        return invalid("enough");
      }
      return WalkStep::kContinue;
    };
    expect_error(walk_block_map(open.volume, inode, fail), {"enough"});
    CHECK(open.image.read_count() == 0);
  }
}

TEST_CASE("wrong pointers are refused at every level", "[fsparse][block_map]") {
  struct Case {
    uint64_t block;
    std::string part;
  };
  const MemoryImage good = tree_image();
  const OpenImage first(good);
  const Group group = first.volume.group(GroupNumber(0));
  const std::vector<Case> cases = {
      {1, "is the file system's own metadata"},
      {2, "is the file system's own metadata"},
      {3, "is reserved for group descriptors"},
      {group.block_bitmap.value(), "is the file system's own metadata"},
      {group.inode_bitmap.value(), "is the file system's own metadata"},
      {group.inode_table.value(), "is the file system's own metadata"},
      {2048, "is outside the image (2048 blocks)"},
      {900123, "is outside the image (2048 blocks)"},
      {0xffffffff, "is outside the image (2048 blocks)"},
  };
  const InodeRecord tree = first.inode("tree");
  const BlockNumber triple = *first.volume.file_block(tree.pointer(ext2::kTripleIndirectSlot));
  const BlockNumber below_triple =
      *first.volume.file_block(value_of(read_pointers(first.volume, triple))[0]);
  for (const Case& wrong : cases) {
    const auto value = static_cast<uint32_t>(wrong.block);
    const auto expect = [&](const char* what, const std::function<void(OpenImage&)>& damage,
                            BlockRole role) {
      OpenImage open(good);
      damage(open);
      const std::string message =
          fmt::format("lower.img: inode {}: {} {} {}", tree.number(), what, value, wrong.part);
      expect_error(walk_all(open, tree.number()), {message});
      expect_error(map_block(open.volume, open.inode(tree.number()), role), {message});
    };
    expect("block", [&](OpenImage& open) { open.raw(tree.number()).i_block[11] = value; },
           {0, FileBlock(11)});
    expect("indirect block", [&](OpenImage& open) { open.raw(tree.number()).i_block[12] = value; },
           {0, FileBlock(13)});
    expect("double indirect block",
           [&](OpenImage& open) { open.raw(tree.number()).i_block[13] = value; },
           {0, FileBlock(268)});
    expect("triple indirect block",
           [&](OpenImage& open) { open.raw(tree.number()).i_block[14] = value; },
           {0, FileBlock(65804)});
    expect("double indirect block", [&](OpenImage& open) { open.pointer(triple, 0) = value; },
           {0, FileBlock(65804)});
    expect("indirect block", [&](OpenImage& open) { open.pointer(below_triple, 0) = value; },
           {0, FileBlock(65804)});
  }
}

TEST_CASE("hostile trees end soon", "[fsparse][block_map]") {
  OpenImage open(tree_image());
  const InodeRecord tree = open.inode("tree");
  const auto block_of = [&](uint32_t slot) {
    return static_cast<uint32_t>(tree.pointer(slot).value());
  };
  const auto fill = [&](uint32_t block, uint32_t value) {
    for (uint32_t i = 0; i < 256; ++i) {
      open.pointer(BlockNumber(block), i) = value;
    }
  };
  open.image.reset_counters();
  SECTION("a triple indirect block of itself") {
    fill(block_of(14), block_of(14));
    expect_error(walk_all(open, tree.number()),
                 {fmt::format("double indirect block {} is used twice", block_of(14))});
    CHECK(open.image.read_count() < 20);
    // A lookup goes at most three blocks down, whatever they hold.
    open.image.reset_counters();
    CHECK(value_of(map_block(open.volume, tree, FileBlock(65804))) == BlockNumber(block_of(14)));
    CHECK(open.image.read_count() == 3);
  }
  SECTION("one indirect block all over") {
    fill(block_of(13), block_of(12));
    expect_error(walk_all(open, tree.number()), {"is used twice"});
  }
  SECTION("a loop over two levels") {
    open.pointer(BlockNumber(block_of(13)), 3) = block_of(13);
    expect_error(walk_all(open, tree.number()),
                 {fmt::format("indirect block {} is used twice", block_of(13))});
  }
  SECTION("as many data blocks as pointers") {
    // 2048 blocks in the image: some 20 full indirect blocks are too many.
    uint32_t next = 1200;
    fill(block_of(13), 0);
    for (uint32_t i = 0; i < 200; ++i, ++next) {
      open.pointer(BlockNumber(block_of(13)), i) = next;
      fill(next, 1000);
    }
    expect_error(walk_all(open, tree.number()), {"has more blocks than the image (2048)"});
    CHECK(open.image.read_count() < 20);
  }
  SECTION("a map in noise") {
    std::mt19937_64 random(Catch::rngSeed());
    INFO("replay with --rng-seed " << Catch::rngSeed());
    for (int round = 0; round < 200; ++round) {
      for (uint32_t slot = 0; slot < ext2::kBlockSlots; ++slot) {
        open.raw(tree.number()).i_block[slot] = static_cast<uint32_t>(random() % 2048);
      }
      open.image.reset_counters();
      // Success or error, it ends: an indirect block is read once at most.
      static_cast<void>(walk_all(open, tree.number()).has_value());
      REQUIRE(open.image.read_count() <= 2048);
    }
  }
}

TEST_CASE("unreadable indirect blocks are an error", "[fsparse][block_map]") {
  OpenImage open(tree_image());
  const InodeRecord tree = open.inode("tree");
  const uint64_t offset = open.volume.layout().offset_of(*open.volume.file_block(tree.pointer(13)));
  open.image.fail(offset, offset + 1024);
  CHECK(expect_error(walk_all(open, tree.number()), {"lower.img"}) == ErrorKind::kSystem);
  CHECK(expect_error(map_block(open.volume, tree, FileBlock(268)), {"lower.img"}) ==
        ErrorKind::kSystem);
}

}  // namespace unionfs
