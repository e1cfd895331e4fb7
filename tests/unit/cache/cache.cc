// SPDX-License-Identifier: BSD-3-Clause
//
// A cache file before an origin in memory: what is there, what is lost, what is refused.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "overlay/host/cancellation.h"
#include "tests/unit/cache/cache_bench.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::milliseconds;

namespace {

// As after a boot: the header has the id of another one.
void forget_boot(const std::string& path) {
  write_at(path, cache_format::kUseOffset, "another");
}

}  // namespace

TEST_CASE("Cache: what was read once is not read again", "[cache]") {
  const Place place;
  Server server(place.path());
  CHECK(server.reads_right(10'000, 50'000));
  const uint64_t fetched = server.origin.bytes_read;
  CHECK(fetched == 13 * kClusterBytes);  // clusters 2 to 14, and none twice
  CHECK(server.reads_right(10'000, 50'000));
  CHECK(server.reads_right(8192, 4096));
  CHECK(server.origin.bytes_read == fetched);
  SECTION("nor by another server, nor after it has ended") {
    Server other(place.path());
    CHECK(other.reads_right(9'000, 40'000));
    CHECK(other.origin.reads == 0);
  }
  SECTION("the end of the image") {
    CHECK(server.reads_right(kImageBytes - 10, 10));
    CHECK(server.reads_right(kImageBytes - 900, 900));
    CHECK(server.origin.bytes_read == fetched + 1000);
  }
}

TEST_CASE("Cache: ranges of one request, whatever is there of them", "[cache]") {
  const Place place;
  Server server(place.path());
  BatchReader reader;
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::vector<std::byte>> buffers;
    std::vector<ReadRange> ranges;
    uint64_t at = random() % (kImageBytes / 2);
    const size_t count = 1 + random() % 20;
    for (size_t i = 0; i < count && at < kImageBytes; ++i) {
      const uint64_t length = std::min<uint64_t>(1 + random() % 20'000, kImageBytes - at);
      buffers.emplace_back(length);
      ranges.push_back({&server.file, at, buffers.back()});
      at += length + random() % 9'000;
    }
    std::vector<ReadRange> asked = ranges;
    expect_success(round % 2 == 0 ? reader.read(ranges)
                                  : reader.read_cached_first(ranges, ReadBy::kClient));
    for (size_t i = 0; i < asked.size(); ++i) {
      REQUIRE(is_right(asked[i].offset, buffers[i]));
    }
  }
  CHECK(server.origin.bytes_read <= kImageBytes + 300 * 20 * kClusterBytes);
  CHECK(server.file.counters().hits > 0);
}

TEST_CASE("Cache: after a kill all is there, after a power loss what was flushed", "[cache]") {
  const Place place;
  const pid_t child = ::fork();
  if (child == 0) {
    // No destructor runs.
    Server server(place.path());
    const bool is_first_right = server.reads_right(0, 5 * kClusterBytes);
    server.cache->flush();
    const bool is_second_right = server.reads_right(kRegionBytes, 3 * kClusterBytes);
    ::kill(::getpid(), is_first_right && is_second_right ? SIGKILL : SIGTERM);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WTERMSIG(status) == SIGKILL);
  SECTION("kill") {
    Server server(place.path());
    CHECK(server.cache->count() == 8);
    CHECK(server.reads_right(kRegionBytes, 3 * kClusterBytes));
    CHECK(server.origin.reads == 0);
  }
  SECTION("power loss") {
    forget_boot(place.path());
    Server server(place.path());
    CHECK(server.cache->count() == 5);
    CHECK(server.reads_right(0, 5 * kClusterBytes));
    CHECK(server.origin.reads == 0);
    CHECK(server.reads_right(kRegionBytes, 3 * kClusterBytes));
    CHECK(server.origin.bytes_read == 3 * kClusterBytes);
  }
}

TEST_CASE("Cache: a cluster is fetched once for all threads", "[cache]") {
  const Place place;
  Server server(place.path());
  server.origin.delay = milliseconds(50);
  std::atomic<int> right{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&server, &right] {
      if (server.reads_right(100, 1000)) {
        ++right;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(right == 8);
  CHECK(server.origin.reads == 1);
  SECTION("an error is nobody's afterwards") {
    server.origin.fails = true;
    CHECK_FALSE(server.reads_right(kRegionBytes, 10));
    server.origin.fails = false;
    CHECK(server.reads_right(kRegionBytes, 10));
  }
}

TEST_CASE("Cache: who is cancelled does not wait for what another one fetches", "[cache]") {
  const Place place;
  Server server(place.path());
  std::vector<std::byte> fetched(100);
  const std::vector<ReadRange> ranges = {{&server.file, 300, fetched}};
  const auto pending = server.file.begin_reads(ranges);
  std::atomic<bool> is_cancelled{false};
  std::atomic<bool> is_over{false};
  std::thread other([&] {
    const CancellableWaits waits(is_cancelled);
    is_over = server.reads_right(500, 100);  // this origin knows nothing of it
  });
  std::this_thread::sleep_for(milliseconds(50));
  CHECK_FALSE(is_over);
  is_cancelled = true;
  other.join();
  CHECK(is_over);
  expect_success(pending->finish());
  CHECK(is_right(300, fetched));
}

TEST_CASE("Cache: who has begun a read may read more before its end", "[cache]") {
  const Place place;
  Server server(place.path());
  std::vector<std::byte> buffer(100);
  std::vector<std::byte> other(100);
  const std::vector<ReadRange> ranges = {{&server.file, 300, buffer}};
  const std::vector<ReadRange> others = {{&server.file, kRegionBytes, other}};
  const auto pending = server.file.begin_reads(ranges);
  REQUIRE(pending != nullptr);
  // Of the cluster that is being fetched, and of one that another thread fetches who needs ours.
  CHECK(server.reads_right(500, 100));
  std::thread thread([&] {
    const auto theirs = server.file.begin_reads(others);
    CHECK(server.reads_right(700, 100));
    expect_success(theirs->finish());
  });
  thread.join();
  CHECK(server.reads_right(kRegionBytes + 50, 100));
  expect_success(pending->finish());
  CHECK(is_right(300, buffer));
  CHECK(is_right(kRegionBytes, other));
}

TEST_CASE("Cache: what goes while it is read is read of the image", "[cache]") {
  const Place place;
  CacheOptions options = options_for_test();
  options.most_bytes = CacheFile::least_bytes(options);
  Server reader(place.path(), options);
  Server other(place.path(), options);
  CHECK(reader.reads_right(0, 10 * kClusterBytes));
  const CacheFile::Run run = reader.cache->run_at(0, 10);
  REQUIRE(run.is_there);
  std::vector<std::byte> buffer(5 * kClusterBytes);
  const std::vector<ReadRange> ranges = {{&reader.file, 100, buffer}};
  const auto pending = reader.file.begin_reads(ranges);
  REQUIRE(pending != nullptr);
  // Nothing is asked for yet that is there; meanwhile the other one needs its room.
  for (uint64_t region = 1; reader.cache->run_at(0, 10).is_there; region = region % 39 + 1) {
    CHECK(other.reads_right(region * kRegionBytes, kRegionBytes));
    other.cache->make_room();
  }
  CHECK_FALSE(reader.cache->is_same_generation(0, run.generation));
  expect_success(pending->finish());
  CHECK(is_right(100, buffer));
}

TEST_CASE("Cache: another image, a copy and what is poisoned are made anew", "[cache]") {
  const Place place;
  std::string lines;
  CacheOptions options = options_for_test();
  options.log = [&lines](const std::string& line) { lines += line + "\n"; };
  auto server = std::make_unique<Server>(place.path(), options);
  CHECK(server->reads_right(0, 10 * kClusterBytes));
  server->cache->write_trace({7, 3});
  SECTION("another image; who has the old file goes on with it") {
    CacheOptions other = options;
    other.key.fill(8);
    const Server anew(place.path(), other);
    CHECK(anew.cache->count() == 0);
    CHECK(anew.cache->read_trace().empty());
    CHECK(lines.find("new one takes its place") != std::string::npos);
    CHECK(server->cache->count() == 10);
    CHECK(server->reads_right(0, 10 * kClusterBytes));
  }
  SECTION("a copy") {
    server.reset();
    std::filesystem::copy_file(place.path(), place.path("copy"));
    const Server copy(place.path("copy"), options);
    CHECK(copy.cache->count() == 0);
    CHECK((copy.cache->read_trace() == std::vector<uint64_t>{7, 3}));
  }
  SECTION("the origin has something else") {
    expect_success(server->file.compare_samples(server->origin));
    CHECK(server->cache->count() == 10);
    CHECK(lines.empty());
    Origin changed;
    changed.wrong_at = 3 * kClusterBytes + 5;
    // Four of ten clusters, drawn at random.
    for (int tries = 0; tries < 100 && lines.empty(); ++tries) {
      expect_success(server->file.compare_samples(changed));
    }
    CHECK(lines.find("has something else") != std::string::npos);
    const uint64_t before = server->origin.reads;
    CHECK(server->reads_right(0, 10));
    CHECK(server->origin.reads == before + 1);
    const Server anew(place.path(), options);
    CHECK(anew.cache->count() == 0);
    CHECK((anew.cache->read_trace() == std::vector<uint64_t>{7, 3}));
  }
  SECTION("the image is known to be another one: nothing is shown of it") {
    server->origin.is_other = true;
    CHECK_FALSE(server->reads_right(0, 10));
    std::vector<std::byte> buffer(10);
    CHECK(server->file.read_cached(0, buffer) == 0);
  }
}

TEST_CASE("Cache: while nothing can be kept, only what is asked for is fetched", "[cache]") {
  const Place place;
  std::string lines;
  CacheOptions options = options_for_test();
  options.log = [&lines](const std::string& line) { lines += line + "\n"; };
  Server server(place.path(), options);
  CHECK(server.reads_right(0, 2 * kClusterBytes));
  uint64_t left = 2;  // clusters that are there
  const FileSizeLimit limit(server.cache->place_of(kRegionBytes));
  SECTION("poisoned") {
    server.cache->poison("a test");
    left = 0;
  }
  SECTION("the host has no space") {
    CHECK(server.reads_right(2 * kRegionBytes, 10));
    CHECK(lines.find("nothing more is cached") != std::string::npos);
  }
  const uint64_t before = server.origin.bytes_read;
  const uint64_t misses = server.file.counters().misses;
  CHECK(server.reads_right(3 * kRegionBytes + 700, 100));
  std::vector<std::byte> first(50);
  std::vector<std::byte> second(kClusterBytes + 20);
  const std::vector<ReadRange> ranges = {{&server.file, 4 * kRegionBytes + 5, first},
                                         {&server.file, 4 * kRegionBytes + 300, second}};
  expect_success(server.file.begin_reads(ranges)->finish());
  CHECK(is_right(ranges[0].offset, first));
  CHECK(is_right(ranges[1].offset, second));
  CHECK(server.origin.bytes_read == before + 100 + first.size() + second.size());
  CHECK(server.file.counters().misses > misses);
  server.file.fetch_ahead({5 * CacheFile::kClustersPerRegion});
  // What is there is there.
  const uint64_t now = server.origin.bytes_read;
  CHECK(server.reads_right(0, 2 * kClusterBytes));
  CHECK(server.origin.bytes_read == now + (2 - left) * kClusterBytes);
  // Between the two, a range of which a part is there.
  CHECK(server.reads_right(kClusterBytes, 2 * kClusterBytes));
}

TEST_CASE("Cache: what killed processes have left of it is removed", "[cache]") {
  const Place place;
  const auto leave = [&place](const char* name) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto file = PosixFile::create_for(place.path(name), "cache");
      if (file && (*file)->publish_hidden(7)) {
        ::kill(::getpid(), SIGKILL);
      }
      ::_exit(1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    REQUIRE(std::filesystem::exists(hidden_path_of(place.path(name), "cache", 7)));
  };
  const auto is_left = [&place](const char* name) {
    return std::filesystem::exists(hidden_path_of(place.path(name), "cache", 7));
  };
  leave("cache");
  leave("ab.cache");
  leave("other");
  const auto used = value_of(PosixFile::create_for(place.path("cd.cache"), "cache"));
  expect_success(used->publish_hidden(7));
  SECTION("of one cache") {
    const Server server(place.path());
    CHECK_FALSE(is_left("cache"));
    CHECK(is_left("ab.cache"));
  }
  SECTION("of a directory of caches") {
    CacheFile::remove_leftovers_in(std::filesystem::path(place.path()).parent_path());
    CHECK_FALSE(is_left("ab.cache"));
    CHECK(is_left("cache"));
  }
  CHECK(is_left("other"));
  CHECK(is_left("cd.cache"));
}

TEST_CASE("Cache: what could be somebody else's is refused", "[cache]") {
  const Place place;
  const auto refused = [&place](std::string_view word) {
    const auto opened = CacheFile::open(place.path(), options_for_test());
    const auto checked = CacheFile::check(place.path());
    return !opened && !checked && opened.error().message.find(word) != std::string::npos &&
           checked.error().message.find(word) != std::string::npos;
  };
  SECTION("a file that is no cache stays as it is") {
    write_file(place.path(), "mine");
    CHECK(refused("no cache"));
    CHECK(std::filesystem::file_size(place.path()) == 4);
  }
  SECTION("a link") {
    std::filesystem::create_symlink("elsewhere", place.path());
    CHECK(refused("cannot open"));
  }
  SECTION("others may write to it") {
    { const Server made(place.path()); }
    std::filesystem::permissions(place.path(), std::filesystem::perms(0666));
    CHECK(refused("others may write"));
  }
  SECTION("others may write to its directory") {
    std::filesystem::permissions(std::filesystem::path(place.path()).parent_path(),
                                 std::filesystem::perms(0777));
    CHECK(refused("others may write"));
  }
  SECTION("a directory that is not there") {
    CHECK_FALSE(CacheFile::check(place.path("no/such")));
    CHECK_FALSE(CacheFile::open(place.path("no/such"), options_for_test()));
  }
}
