// SPDX-License-Identifier: BSD-3-Clause
//
// Chains of sealed layers.
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstring>
#include <random>

#include "overlay/stack/seal.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/merged/chain_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const std::atomic<bool> kNotCancelled{false};

void check_ranges(const Levels& levels, uint32_t seed) {
  const MergedView& view = levels.layer(levels.count() - 1).view();
  const std::vector<std::byte>& wanted = levels.shown();
  std::mt19937_64 random(seed);
  for (int i = 0; i < 200; ++i) {
    const uint64_t offset = random() % wanted.size();
    const uint64_t length = 1 + random() % std::min<uint64_t>(100'000, wanted.size() - offset);
    std::vector<std::byte> found(length);
    expect_success(view.read(offset, found));
    REQUIRE(
        std::equal(found.begin(), found.end(), wanted.begin() + static_cast<ptrdiff_t>(offset)));
  }
}

}  // namespace

TEST_CASE("Chain: random levels show what they show over plain copies", "[chain]") {
  const uint32_t seed = GENERATE(1U, 2U);
  const uint32_t block_size = seed == 1 ? 1024 : 4096;
  INFO("seed " << seed);
  Levels levels(block_size);
  RandomRequests requests(seed);
  std::mt19937 random(seed);
  const int count = seed == 1 ? 12 : 6;
  for (int level = 1; level <= count; ++level) {
    INFO("level " << level);
    if (random() % 4 == 0) {
      levels.grow_by((1 + random() % 5) * 700 * 1024);
    }
    levels.add(requests.next(12));
    check_ranges(levels, seed);
  }
}

// Of such a block a layer has the count and nothing else, so it does not own it.
TEST_CASE("Chain: a count of an attribute block is that of the topmost layer", "[chain]") {
  Levels levels(1024);
  const std::string value(600, 'v');  // no inode has room for it
  levels.add({"write @/small /other", "ea_set /small user.large " + value});
  BlockNumber shared(0);
  for (uint64_t block = 1; block < levels.shown().size() / 1024; ++block) {
    ext2::XattrHeader header;
    std::memcpy(&header, levels.shown().data() + block * 1024, sizeof(header));
    shared = header.h_magic == ext2::kXattrMagic ? BlockNumber(block) : shared;
  }
  REQUIRE(shared.value() != 0);
  const auto count_at = [&] {
    ext2::XattrHeader header;
    std::memcpy(&header, levels.shown().data() + shared.value() * 1024, sizeof(header));
    return header.h_refcount.value();
  };
  levels.add({fmt::format("set_inode_field /other file_acl {}", shared.value())});
  CHECK(count_at() == 2);
  levels.add({"mkdir /more"});
  CHECK(count_at() == 2);
  levels.add({"rm /other"});
  CHECK(count_at() == 1);
  const TranslatedBlock* entry = levels.layer(3).layer().translated(shared);
  REQUIRE(entry != nullptr);
  CHECK(entry->kind == TranslatedKind::kXattrCount);
  levels.add({"rmdir /more"});
  CHECK(count_at() == 1);
}

TEST_CASE("Chain: a layer knows what it stands on", "[chain]") {
  Levels levels(1024);
  levels.add({"write @/small /one"});
  levels.add({"write @/small /two"});
  levels.add({"write @/small /three"});
  const Lower lower(small_image(1024));
  MemoryFile& second = levels.file(1);
  MemoryFile& third = levels.file(2);

  expect_error(LayerOverLower::load(*lower.image, second, {}),
               {"level2.img", "stands on the sealed layer \"level1.img\"", "missing"});
  const auto first = value_of(LayerOverLower::load(*lower.image, levels.file(0), {}));
  const auto over_first = value_of(LayerBelow::open(*first));
  expect_error(LayerOverLower::load(*over_first, third, {}),
               {"level3.img", "stands on the sealed layer \"level2.img\"", "not on level1.img"});
  // A layer of the lower cannot pretend to be one of a layer.
  MemoryFile upper("upper.img");
  const Geometry geometry = value_of(Geometry::grow(lower.volume, levels.size_bytes()));
  expect_success(create_layer(upper, lower.volume, geometry));
  expect_error(LayerOverLower::load(*over_first, upper, {}),
               {"upper.img", "stands on a plain image, not on the layer level1.img"});
}

TEST_CASE("Chain: an opening compares an inode once", "[chain]") {
  Levels levels(1024);
  levels.add({"set_inode_field /etc/deep/deeper/large mode 0100600"});
  levels.add({"set_inode_field /etc/deep/deeper/large mode 0100640",
              "set_inode_field /small mode 0100600"});
  const LayerOverLower& first = levels.layer(0);
  const LayerOverLower& second = levels.layer(1);
  CHECK(first.uncompared().empty());

  // What the first layer owns was compared with it, and only the large file takes long.
  const std::atomic<bool> is_cancelled{false};
  const LowerComparison comparison = second.lower_comparison(is_cancelled);
  REQUIRE(second.uncompared().size() == 1);
  CHECK(comparison.count() > 1);
  const auto inode = comparison.inode_of(second.uncompared()[0]);
  REQUIRE(inode);
  CHECK(first.items().is_own(*inode));
  CHECK(value_of(first.items().inode_at(*inode)).size_bytes() > 64 * 1024);
  CHECK(second.has_uncompared());
}

TEST_CASE("Chain: a sealed layer is never written", "[chain]") {
  Levels levels(1024);
  levels.add({"write @/small /one"});
  const Lower lower(small_image(1024));
  MemoryFile& sealed = levels.file(0);
  const auto bytes_now = [&] {
    std::vector<std::byte> bytes(sealed.size_bytes());
    expect_success(sealed.read(0, bytes));
    return bytes;
  };
  const std::vector<std::byte> before = bytes_now();
  const auto disk = value_of(Disk::load(*lower.image, sealed, kBootId, quiet_log()));
  expect_error(disk->attach(Access::kReadWrite), {"level1.img", "is a sealed layer"});
  expect_error(disk->grow(value_of(Geometry::grow(lower.volume, 2 * levels.size_bytes()))),
               {"level1.img", "is a sealed layer"});
  expect_error(seal_upper(*lower.image, sealed, quiet_log(), kNotCancelled),
               {"level1.img", "is a sealed layer"});
  CHECK(bytes_now() == before);
}

TEST_CASE("Chain: what a seal covers", "[chain]") {
  Levels levels(1024);
  levels.add({"write @/large /one", "mkdir /made", "write @/small /made/two"});
  const Lower lower(small_image(1024));
  MemoryFile& sealed = levels.file(0);
  const auto load = [&] { return value_of(LayerOverLower::load(*lower.image, sealed, {})); };
  const auto flip = [&](uint64_t offset) {
    std::vector<std::byte> byte(1);
    expect_success(sealed.read(offset, byte));
    byte[0] ^= std::byte{0x10};
    sealed.poke(offset, byte);
  };
  expect_success(check_sealed_content(*load(), kNotCancelled));
  uint64_t plain = 0;
  uint64_t translated = 0;
  const auto layer = load();
  const Layout& merged = layer->geometry().merged();
  for (BlockNumber block = BlockNumber(merged.first_data_block); block.value() < merged.block_count;
       block = block + 1) {
    const Run run = layer->view().run_at(block, block + 1);
    if (run.source != Source::kUpper && run.source != Source::kSynthesizedTranslated) {
      continue;
    }
    const uint64_t offset = merged.offset_of(block) + 100;
    flip(offset);
    const bool is_plain = run.source == Source::kUpper;
    (is_plain ? plain : translated) += 1;
    expect_success(check_sealed(*load()));  // which follows metadata only
    expect_error(check_sealed_content(*load(), kNotCancelled),
                 {"level1.img", is_plain ? "blocks of files" : "inodes, directories"});
    flip(offset);
  }
  CHECK(plain > 10);
  CHECK(translated > 2);
  // The label is in the superblock, which is looked at each time.
  flip(ext2::kSuperblockOffsetBytes + offsetof(ext2::Superblock, s_volume_name));
  expect_error(check_sealed(*load()), {"level1.img", "superblock"});
}

TEST_CASE("Chain: what is not sealed carries nothing", "[chain]") {
  const Lower lower(small_image(1024));
  MemoryFile upper("upper.img");
  const Geometry geometry = value_of(Geometry::grow(lower.volume, small_merged_size(1024)));
  expect_success(create_layer(upper, lower.volume, geometry));
  const auto layer = value_of(LayerOverLower::load(*lower.image, upper, {}));
  expect_error(check_sealed(*layer),
               {"upper.img", "neither sealed nor frozen", "unionfs-img seal"});
}
