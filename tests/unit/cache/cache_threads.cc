// SPDX-License-Identifier: BSD-3-Clause
#include <random>
#include <thread>

#include "tests/unit/cache/cache_bench.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::milliseconds;

TEST_CASE("Cache: users of one file read, fill and make room at once", "[cache][threads]") {
  const Place place;
  CacheOptions options = options_for_test();
  options.most_bytes = CacheFile::least_bytes(options);
  options.flush_period = milliseconds(5);
  Server first(place.path(), options);
  Server second(place.path(), options);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Server& server = i % 2 == 0 ? first : second;
      std::mt19937_64 random(static_cast<uint64_t>(i));
      for (int round = 0; round < 1500; ++round) {
        const uint64_t length = 1 + random() % 30'000;
        if (!server.reads_right(random() % (kImageBytes - length), length)) {
          ++wrong;
        }
        if (round % 100 == 99) {
          server.cache->make_room();
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
  CHECK(first.file.counters().hits > 0);
  first.cache->make_room();
  CHECK(first.cache->file().space()->used_bytes <= options.most_bytes);
  // Something was emptied: not all of the image fits.
  CHECK(first.cache->count() < first.cache->cluster_count());
}
