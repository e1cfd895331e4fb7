// SPDX-License-Identifier: BSD-3-Clause
//
// What a boot reads first: how that is written down, kept, and fetched ahead.
#include <chrono>
#include <thread>

#include "overlay/cache/boot_trace.h"
#include "tests/unit/cache/cache_bench.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::milliseconds;

namespace {

class HandClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  void go_on(std::chrono::seconds time) { now_ += time; }

 private:
  void wait_once(Mutex&, Condition&, TimePoint) override {}

  TimePoint now_{std::chrono::hours(1)};
};

using Clusters = std::vector<uint64_t>;

// More than the two batches that are under way when the first cluster cannot be kept.
Clusters clusters_of_second_region() {
  Clusters clusters;
  for (uint64_t cluster = 0; cluster < 1500; ++cluster) {
    clusters.push_back(CacheFile::kClustersPerRegion + cluster);
  }
  return clusters;
}

}  // namespace

TEST_CASE("Trace: from the first client to a quiet moment", "[cache]") {
  HandClock clock;
  TraceRecorder recorder(100, 10, clock);
  CHECK_FALSE(recorder.note(5));
  recorder.begin();
  CHECK_FALSE(recorder.note(7));
  clock.go_on(std::chrono::seconds(15));
  CHECK_FALSE(recorder.note(3));
  CHECK_FALSE(recorder.note(7));
  SECTION("ten seconds without a new cluster") {
    clock.go_on(std::chrono::seconds(9));
    CHECK_FALSE(recorder.note(4));
    clock.go_on(std::chrono::seconds(10));
    CHECK_FALSE(recorder.note(3));
    CHECK((recorder.note(50) == Clusters{7, 3, 4}));
    CHECK_FALSE(recorder.is_active());
    CHECK_FALSE(recorder.end());
    recorder.begin();
    CHECK_FALSE(recorder.is_active());
  }
  SECTION("the last client goes") {
    CHECK((recorder.end() == Clusters{7, 3}));
  }
  SECTION("as many as are kept") {
    for (uint64_t cluster = 20; cluster < 27; ++cluster) {
      CHECK_FALSE(recorder.note(cluster));
    }
    CHECK((recorder.note(27) == Clusters{7, 3, 20, 21, 22, 23, 24, 25, 26, 27}));
  }
}

TEST_CASE("Trace: a guest that has hardly read anything has not booted", "[cache]") {
  HandClock clock;
  TraceRecorder recorder(100, 64, clock);
  recorder.begin();
  CHECK_FALSE(recorder.note(7));
  // Its kernel takes long.
  clock.go_on(std::chrono::seconds(40));
  for (uint64_t cluster = 1; cluster < 4; ++cluster) {
    CHECK_FALSE(recorder.note(cluster));
  }
  clock.go_on(std::chrono::seconds(11));
  CHECK((recorder.note(50) == Clusters{7, 1, 2, 3}));
}

TEST_CASE("Trace: two minutes at most", "[cache]") {
  HandClock clock;
  TraceRecorder recorder(100, 50, clock);
  recorder.begin();
  Clusters clusters;
  for (uint64_t cluster = 20; cluster < 33; ++cluster) {
    clock.go_on(std::chrono::seconds(9));
    CHECK_FALSE(recorder.note(cluster));
    clusters.push_back(cluster);
  }
  clock.go_on(std::chrono::seconds(9));
  CHECK((recorder.note(40) == clusters));
}

TEST_CASE("Trace: a short run tells nothing", "[cache]") {
  HandClock clock;
  TraceRecorder recorder(100, 10, clock);
  recorder.begin();
  CHECK_FALSE(recorder.note(7));
  clock.go_on(std::chrono::seconds(4));
  CHECK_FALSE(recorder.end());
}

TEST_CASE("Trace: three are kept, joined by the first read of each cluster", "[cache]") {
  const Place place;
  const Server server(place.path());
  CHECK(server.cache->read_trace().empty());
  server.cache->write_trace({90, 91});
  CHECK((server.cache->read_trace() == Clusters{90, 91}));
  server.cache->write_trace({1, 2, 3, 4});
  server.cache->write_trace({4, 2, 5});
  server.cache->write_trace({6});
  // 90 and 91 were the oldest.
  CHECK((server.cache->read_trace() == Clusters{1, 4, 6, 2, 3, 5}));
  SECTION("hostile numbers") {
    // Not of the image, with a checksum that is right or is not.
    const auto places = cache_format::places_of(kImageBytes, kClusterBytes);
    for (uint64_t slot = 0; slot < cache_format::kTraceSlots; ++slot) {
      write_at(place.path(), places.traces_offset + slot * cache_format::kTraceSlotBytes + 26, "x");
    }
    CHECK(server.cache->read_trace().empty());
    server.cache->write_trace({1, server.cache->cluster_count()});
    CHECK(server.cache->read_trace().empty());
  }
}

TEST_CASE("Trace: what is fetched ahead is there when it is asked for", "[cache]") {
  const Place place;
  Server server(place.path());
  server.origin.delay = milliseconds(1);
  Clusters clusters;
  for (uint64_t cluster = 0; cluster < 500; ++cluster) {
    clusters.push_back(cluster * 5);
  }
  server.file.fetch_ahead(clusters);
  // Meanwhile a client asks for some of it, and for others.
  CHECK(server.reads_right(1000 * kClusterBytes, 300 * kClusterBytes));
  while (server.file.counters().ahead + 60 < clusters.size()) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  server.origin.delay = milliseconds(0);
  const uint64_t before = server.origin.bytes_read;
  for (size_t i = 0; i < 400; ++i) {
    REQUIRE(server.reads_right(clusters[i] * kClusterBytes + 7, 100));
  }
  CHECK(server.origin.bytes_read - before < 20 * kClusterBytes);
  SECTION("an error ends it, and nothing else") {
    server.origin.fails = true;
    CHECK(server.reads_right(0, 100));
  }
}

TEST_CASE("Trace: fetching ahead goes on when the host has space again", "[cache]") {
  const Place place;
  CacheOptions options = options_for_test();
  options.pause_without_space = milliseconds(300);
  Server server(place.path(), options);
  const Clusters clusters = clusters_of_second_region();
  const auto kept = [&] { return server.cache->count(); };
  {
    const FileSizeLimit limit(server.cache->place_of(kRegionBytes));
    server.file.fetch_ahead(clusters);
    while (server.origin.reads == 0) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    std::this_thread::sleep_for(milliseconds(100));
    CHECK(server.origin.bytes_read < clusters.size() * kClusterBytes);
    CHECK(kept() == 0);
  }
  for (int tries = 0; tries < 1000 && kept() < clusters.size(); ++tries) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  CHECK(kept() == clusters.size());
}

TEST_CASE("Trace: on a host that stays full less and less is fetched ahead", "[cache]") {
  constexpr uint64_t kMostInOnePause = uint64_t{2} << 20;
  const Place place;
  CacheOptions options = options_for_test();
  options.pause_without_space = milliseconds(50);
  Server server(place.path(), options);
  const Clusters clusters = clusters_of_second_region();
  const FileSizeLimit limit(server.cache->place_of(kRegionBytes));
  server.file.fetch_ahead(clusters);
  std::this_thread::sleep_for(milliseconds(2000));
  CHECK(server.cache->count() == 0);
  // After 0, 50, 150, 350, 750 and 1,550 ms; every 50 ms it would be 40 times.
  CHECK(server.origin.bytes_read <= 7 * kMostInOnePause);
}

TEST_CASE("Trace: who ends does not wait until the host has space", "[cache]") {
  const Place place;
  const auto begin = std::chrono::steady_clock::now();
  {
    Server server(place.path());
    const FileSizeLimit limit(server.cache->place_of(kRegionBytes));
    server.file.fetch_ahead({CacheFile::kClustersPerRegion});
    while (server.cache->takes_more()) {
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(30));
}

TEST_CASE("Trace: as text", "[cache]") {
  const std::string text = trace_text({2, 3, 1, 2560}, kClusterBytes, kImageBytes);
  CHECK(text == "8192 8192\n4096 4096\n10485760 1000\n");
  CHECK((parse_trace(text, "t", kClusterBytes, kImageBytes) == Clusters{2, 3, 1, 2560}));
  CHECK((parse_trace("# a comment\n\n 8200 10 # two\n8192 9000", "t", kClusterBytes, kImageBytes) ==
         Clusters{2, 3, 4}));
  for (const char* wrong :
       {"x", "1", "1 2 3", "-1 4", "0 99999999999", "10486760 1", "18446744073709551615 2"}) {
    const auto parsed =
        parse_trace(fmt::format("0 1\n{}\n", wrong), "boot.trace", kClusterBytes, kImageBytes);
    INFO(wrong);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().message.find("boot.trace:2: ") == 0);
  }
}
