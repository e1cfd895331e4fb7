// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/block_map_form.h"

#include <map>

#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kPointers = 4;  // a tree that is small and deep

// The map of a file with these blocks, each at 1000 and its number; indirect ones from 100 on.
struct FormedMap {
  explicit FormedMap(const std::vector<uint64_t>& blocks)
      : form(
            kPointers, [this]() -> Result<BlockNumber> { return BlockNumber(100 + taken++); },
            [this](BlockNumber block, ConstByteSpan bytes) -> Result<void> {
              REQUIRE(bytes.size() == kPointers * sizeof(Le32));
              CHECK(written.emplace(block.value(), std::vector<Le32>(kPointers)).second);
              std::memcpy(written[block.value()].data(), bytes.data(), bytes.size());
              return {};
            }) {
    IndirectBlockCounter counter(kPointers);
    for (const uint64_t block : blocks) {
      counter.add(FileBlock(block));
      expect_success(form.add(FileBlock(block), BlockNumber(1000 + block)));
    }
    expect_success(form.finish());
    CHECK(counter.count() == taken);
    CHECK(written.size() == taken);
  }

  // 0: a hole.
  uint64_t find(uint64_t block) {
    const BlockPath path = path_of(kPointers, FileBlock(block)).value();
    uint64_t place = form.slots()[path.slot];
    for (uint32_t depth = 0; depth < path.depth && place != 0; ++depth) {
      place = written.at(place)[path.indices[depth]];
    }
    return place;
  }

  uint64_t taken = 0;
  std::map<uint64_t, std::vector<Le32>> written;
  BlockMapForm form;
};

}  // namespace

TEST_CASE("a map leads to every block of a file, and to no hole", "[base]") {
  const uint64_t most = max_file_blocks(kPointers);
  std::vector<uint64_t> all;
  for (uint64_t block = 0; block < most; ++block) {
    all.push_back(block);
  }
  const std::vector<uint64_t> blocks =
      GENERATE_COPY(std::vector<uint64_t>{}, std::vector<uint64_t>{0, 11},
                    std::vector<uint64_t>{12}, std::vector<uint64_t>{15, 16, 19, 20},
                    std::vector<uint64_t>{3, most - 1}, all, std::vector<uint64_t>{31, 32, 48, 95});
  FormedMap map(blocks);
  for (uint64_t block = 0; block < most; ++block) {
    const bool is_there = std::find(blocks.begin(), blocks.end(), block) != blocks.end();
    CHECK(map.find(block) == (is_there ? 1000 + block : 0));
  }
}

TEST_CASE("a map of all blocks has all indirect blocks, each once", "[base]") {
  IndirectBlockCounter counter(kPointers);
  for (uint64_t block = 0; block < max_file_blocks(kPointers); ++block) {
    counter.add(FileBlock(block));
  }
  CHECK(counter.count() == 1 + (1 + 4) + (1 + 4 + 16));
}
