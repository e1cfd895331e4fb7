// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/paired_walk.h"

#include <fstream>
#include <functional>
#include <map>

#include "tests/unit/support/open_image.h"

namespace unionfs {
namespace {

using namespace testing;

constexpr uint32_t kPointers = 256;
constexpr uint64_t kTripleBegin = 12 + kPointers + kPointers * kPointers;

// A small image whose file "tree" has blocks at every edge of a triple indirect tree.
MemoryImage tree_image() {
  const RealImage real(2048, {});
  const std::filesystem::path path = real.directory() / "tree";
  std::ofstream file(path);
  for (const uint64_t block : {uint64_t{0}, uint64_t{5}, uint64_t{12}, uint64_t{13}, uint64_t{267},
                               uint64_t{268}, kTripleBegin - 1, kTripleBegin, kTripleBegin + 300}) {
    file.seekp(static_cast<std::streamoff>(block * 1024));
    file << std::string(1024, 't');
  }
  file.close();
  real.change({"write " + path.string() + " tree"});
  return real.load();
}

// Notes what it is told; the functions decide.
class Notes final : public PairedVisitor {
 public:
  std::function<Result<PairedStep>(const PairedBlock&)> on_enter = [](const PairedBlock&) {
    return PairedStep::kContinue;
  };
  std::function<bool(const PairedBlock&)> keeps = [](const PairedBlock&) { return true; };

  std::vector<PairedBlock> entered;
  std::vector<PairedBlock> left;
  std::map<BlockRole, std::vector<ClaimedBlock>> kept;  // of indirect blocks
  std::map<BlockRole, ClaimedBlock> holes;

  Result<PairedStep> enter(const PairedBlock& place) override {
    entered.push_back(place);
    return on_enter(place);
  }
  Result<bool> leave(const PairedBlock& place, std::span<const ClaimedBlock> pointers) override {
    left.push_back(place);
    CHECK(pointers.size() == (place.role.level == 0 ? 0 : kPointers));
    kept[place.role] = {pointers.begin(), pointers.end()};
    return keeps(place);
  }
  Result<void> hole(BlockRole role, ClaimedBlock below) override {
    holes[role] = below;
    return {};
  }

  std::optional<PairedBlock> at(BlockRole role) const {
    for (const PairedBlock& place : entered) {
      if (place.role == role) {
        return place;
      }
    }
    return std::nullopt;
  }
};

// Two copies of one image, to be changed apart.
struct Pair {
  Pair() : Pair(tree_image()) {}
  explicit Pair(const MemoryImage& bytes) : upper(bytes), lower(bytes) {}

  Result<SlotPointers> walk(PairedVisitor& visitor) const {
    return walk_paired(upper.volume, upper.inode("tree"), lower.volume,
                       slot_pointers(lower.inode("tree")), visitor);
  }
  static uint32_t block_of(const OpenImage& open, uint32_t slot) {
    return static_cast<uint32_t>(open.inode("tree").pointer(slot).value());
  }

  OpenImage upper;
  OpenImage lower;
};

}  // namespace

TEST_CASE("a paired walk of one map with itself meets it all twice", "[fsparse][paired_walk]") {
  const Pair pair;
  Notes notes;
  const SlotPointers slots = value_of(pair.walk(notes));
  CHECK(slots == slot_pointers(pair.upper.inode("tree")));
  size_t next = 0;
  expect_success(walk_block_map(pair.upper.volume, pair.upper.inode("tree"),
                                [&](BlockRole role, BlockNumber block) {
                                  const PairedBlock& place = notes.entered.at(next++);
                                  CHECK(place.role == role);
                                  CHECK(place.block == block);
                                  CHECK(place.below == block);
                                  return WalkStep::kContinue;
                                }));
  CHECK(next == notes.entered.size());
  CHECK(notes.left.size() == notes.entered.size());
  CHECK(notes.holes.empty());
}

TEST_CASE("a paired walk leaves a block after what it leads to", "[fsparse][paired_walk]") {
  const Pair pair;
  Notes notes;
  value_of(pair.walk(notes));
  std::map<BlockRole, size_t> position;
  for (size_t i = 0; i < notes.left.size(); ++i) {
    position[notes.left[i].role] = i;
  }
  CHECK(position.at({2, FileBlock(268)}) > position.at({1, FileBlock(268)}));
  CHECK(position.at({1, FileBlock(268)}) > position.at({0, FileBlock(268)}));
  CHECK(notes.left.back().role == BlockRole{3, FileBlock(kTripleBegin)});
  CHECK(notes.entered[position.at({0, FileBlock(5)})].role == BlockRole{0, FileBlock(5)});
}

TEST_CASE("a paired walk tells where the maps differ", "[fsparse][paired_walk]") {
  Pair pair;
  Notes notes;
  const BlockNumber indirect(Pair::block_of(pair.upper, 12));
  SECTION("another block below") {
    pair.lower.pointer(indirect, 1) = 1999;
    value_of(pair.walk(notes));
    CHECK(notes.at({0, FileBlock(13)})->below == BlockNumber(1999));
    CHECK(notes.at({0, FileBlock(12)})->below == notes.at({0, FileBlock(12)})->block);
  }
  SECTION("a hole below") {
    pair.lower.raw(pair.lower.inode("tree").number()).i_block[12] = 0U;
    value_of(pair.walk(notes));
    CHECK(notes.at({1, FileBlock(12)})->below == BlockNumber(0));
    CHECK(notes.at({0, FileBlock(13)})->below == BlockNumber(0));
  }
  SECTION("a hole in the walked map") {
    pair.upper.pointer(indirect, 1) = 0U;
    pair.upper.raw(pair.upper.inode("tree").number()).i_block[14] = 0U;
    value_of(pair.walk(notes));
    CHECK(notes.holes.size() == 2);  // the walk does not go on below
    CHECK(notes.holes.at({0, FileBlock(13)}) ==
          value_of(read_pointers(pair.lower.volume, indirect))[1]);
    CHECK(notes.holes.at({3, FileBlock(kTripleBegin)}) ==
          BlockNumber(Pair::block_of(pair.lower, 14)));
  }
  SECTION("a pointer out of the image below leads to nothing") {
    pair.lower.raw(pair.lower.inode("tree").number()).i_block[12] = 900123U;
    value_of(pair.walk(notes));
    CHECK(notes.at({1, FileBlock(12)})->below == BlockNumber(900123));
    CHECK(notes.at({0, FileBlock(12)})->below == BlockNumber(0));
  }
}

TEST_CASE("a paired walk keeps the pointers that its visitor keeps", "[fsparse][paired_walk]") {
  const Pair pair;
  Notes notes;
  notes.keeps = [](const PairedBlock& place) {
    return place.role != BlockRole{0, FileBlock(13)} && place.role != BlockRole{0, FileBlock(5)} &&
           place.role != BlockRole{1, FileBlock(kTripleBegin)};
  };
  SlotPointers wanted = slot_pointers(pair.upper.inode("tree"));
  wanted[5] = ClaimedBlock();
  CHECK(value_of(pair.walk(notes)) == wanted);
  auto below =
      value_of(read_pointers(pair.upper.volume, *pair.upper.volume.file_block(wanted[12])));
  below[1] = ClaimedBlock();
  CHECK(notes.kept.at({1, FileBlock(12)}) == below);
  const auto& of_double = notes.kept.at({2, FileBlock(kTripleBegin)});
  CHECK(of_double[0] == BlockNumber(0));
  CHECK(of_double[1] != BlockNumber(0));
}

TEST_CASE("a paired walk skips and fails as it is told", "[fsparse][paired_walk]") {
  const Pair pair;
  Notes notes;
  const SlotPointers slots = slot_pointers(pair.upper.inode("tree"));
  SECTION("skip") {
    notes.on_enter = [](const PairedBlock& place) {
      return place.role.level > 0 ? PairedStep::kSkip : PairedStep::kContinue;
    };
    notes.keeps = [](const PairedBlock&) { return false; };
    SlotPointers wanted = {};
    std::copy(slots.begin() + 12, slots.end(), wanted.begin() + 12);
    CHECK(value_of(pair.walk(notes)) == wanted);
    CHECK(notes.entered.size() == 5);
    CHECK(notes.left.size() == 2);
  }
  SECTION("fail") {
    notes.on_enter = [](const PairedBlock& place) -> Result<PairedStep> {
      if (place.role.level == 2) {
        return invalid("enough");
      }
      return PairedStep::kContinue;
    };
    expect_error(pair.walk(notes), {"enough"});
    CHECK(notes.entered.back().role == BlockRole{2, FileBlock(268)});
  }
}

TEST_CASE("a paired walk refuses wrong pointers of the walked map", "[fsparse][paired_walk]") {
  Pair pair;
  Notes notes;
  const InodeNumber tree = pair.upper.inode("tree").number();
  const BlockNumber triple(Pair::block_of(pair.upper, 14));
  SECTION("in i_block") {
    pair.upper.raw(tree).i_block[1] = 900123U;
    expect_error(pair.walk(notes), {"block 900123 is outside the image (2048 blocks)"});
  }
  SECTION("in an indirect block") {
    pair.upper.pointer(triple, 0) = 1U;
    expect_error(pair.walk(notes), {"double indirect block 1 is the file system's own metadata"});
  }
  SECTION("unreadable") {
    const uint64_t offset = pair.upper.volume.layout().offset_of(triple);
    pair.upper.image.fail(offset, offset + 1024);
    CHECK(expect_error(pair.walk(notes), {"lower.img"}) == ErrorKind::kSystem);
  }
  SECTION("unreadable below") {
    const uint64_t offset = pair.lower.volume.layout().offset_of(triple);
    pair.lower.image.fail(offset, offset + 1024);
    CHECK(expect_error(pair.walk(notes), {"lower.img"}) == ErrorKind::kSystem);
  }
}

TEST_CASE("a paired walk of hostile maps ends soon", "[fsparse][paired_walk]") {
  Pair pair;
  Notes notes;
  const auto fill = [](OpenImage& open, uint32_t block, uint32_t value) {
    for (uint32_t i = 0; i < kPointers; ++i) {
      open.pointer(BlockNumber(block), i) = value;
    }
  };
  const uint32_t triple = Pair::block_of(pair.upper, 14);
  pair.upper.image.reset_counters();
  pair.lower.image.reset_counters();
  SECTION("a triple indirect block of itself") {
    fill(pair.upper, triple, triple);
    expect_error(pair.walk(notes), {fmt::format("indirect block {} is used twice", triple)});
    CHECK(pair.upper.image.read_count() < 40);
  }
  SECTION("the visitor finds it first") {
    fill(pair.upper, triple, triple);
    notes.on_enter = [&](const PairedBlock& place) -> Result<PairedStep> {
      if (place.block == BlockNumber(triple) && place.role.level < 3) {
        return corrupt("better words");
      }
      return PairedStep::kContinue;
    };
    expect_error(pair.walk(notes), {"better words"});
  }
  SECTION("more data blocks than the image has") {
    const uint32_t double_indirect = Pair::block_of(pair.upper, 13);
    for (uint32_t i = 0; i < 200; ++i) {
      pair.upper.pointer(BlockNumber(double_indirect), i) = 1200 + i;
      fill(pair.upper, 1200 + i, 1000);
    }
    expect_error(pair.walk(notes), {"has more blocks than the image (2048)"});
    CHECK(pair.upper.image.read_count() < 40);
  }
  SECTION("a loop below costs no more than the walked map") {
    fill(pair.lower, triple, triple);
    value_of(pair.walk(notes));
    CHECK(pair.lower.image.read_count() < 40);
  }
}

TEST_CASE("a paired walk of an inode without a block map visits nothing",
          "[fsparse][paired_walk]") {
  const RealImage real(2048, {});
  real.change({"mknod device b 255 255"});
  const OpenImage open(real.load());
  Notes notes;
  SlotPointers below = {};
  below[0] = ClaimedBlock(1000);
  CHECK(value_of(walk_paired(open.volume, open.inode("device"), open.volume, below, notes)) ==
        SlotPointers{});
  CHECK(notes.entered.empty());
  CHECK(notes.holes.empty());
}

}  // namespace unionfs
