// SPDX-License-Identifier: BSD-3-Clause
//
// What a chain remembers of composed blocks.  Meant for the thread sanitizer too.
#include "overlay/merged/composed_blocks.h"

#include <atomic>
#include <random>
#include <thread>

#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kSize = 1024;

std::vector<std::byte> bytes_of_block(uint64_t block) {
  return pattern(block, kSize);
}

}  // namespace

TEST_CASE("Composed blocks: the last ones stay, in bounded memory", "[composed_blocks]") {
  ComposedBlocks blocks(kSize, 64 * kSize);
  std::vector<std::byte> found(kSize);
  CHECK_FALSE(blocks.find(BlockNumber(0), found));
  CHECK(blocks.memory_bytes() == 0);
  for (uint64_t block = 0; block < 1000; ++block) {
    blocks.keep(BlockNumber(block), bytes_of_block(block));
    // One that is asked for again and again is not dropped.
    REQUIRE(blocks.find(BlockNumber(0), found));
    CHECK((found == bytes_of_block(0)));
  }
  CHECK(blocks.memory_bytes() == 64 * kSize);
  size_t count = 0;
  for (uint64_t block = 0; block < 1000; ++block) {
    const bool is_there = blocks.find(BlockNumber(block), found);
    CHECK((!is_there || found == bytes_of_block(block)));
    CHECK((is_there || block < 944));
    count += is_there ? 1 : 0;
  }
  CHECK(count == 64);
}

TEST_CASE("Composed blocks: many threads find and keep", "[composed_blocks][threads]") {
  ComposedBlocks blocks(kSize, 32 * kSize);
  std::atomic<uint64_t> hits{0};
  std::atomic<bool> is_good{true};
  std::vector<std::thread> threads;
  for (uint64_t number = 0; number < 6; ++number) {
    threads.emplace_back([&, number] {
      std::mt19937_64 random(number);
      std::vector<std::byte> found(kSize);
      for (int i = 0; i < 3000; ++i) {
        const uint64_t block = random() % 60;
        if (!blocks.find(BlockNumber(block), found)) {
          blocks.keep(BlockNumber(block), bytes_of_block(block));
        } else {
          hits.fetch_add(1);
          is_good = is_good && found == bytes_of_block(block);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(is_good.load());
  CHECK(hits.load() > 0);
}
