// SPDX-License-Identifier: BSD-3-Clause
//
// A cache file before an origin in memory: what is there, what is lost, what is refused.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "overlay/cache/boot_trace.h"
#include "overlay/host/cancellation.h"
#include "tests/unit/cache/cache_bench.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::milliseconds;

namespace {

void write_at(const std::string& path, uint64_t offset, std::string_view text) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(offset));
  file << text;
  REQUIRE(file.good());
}

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

namespace {

// While it lives, the host takes no byte of a file from `bytes` on.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_ = {};
  void (*const handler_)(int);
};

}  // namespace

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

// ---- what a disk reads first ---------------------------------------------------

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
  // More than the two batches that are under way when the first cluster cannot be kept.
  Clusters clusters;
  for (uint64_t cluster = 0; cluster < 1500; ++cluster) {
    clusters.push_back(CacheFile::kClustersPerRegion + cluster);
  }
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
  Clusters clusters;
  for (uint64_t cluster = 0; cluster < 1500; ++cluster) {
    clusters.push_back(CacheFile::kClustersPerRegion + cluster);
  }
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
