// SPDX-License-Identifier: BSD-3-Clause
//
// Exports of nbdkit as files.  Its pattern plugin gives every place bytes that tell where it is.
#include "overlay/remote/remote_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <thread>

#include "overlay/host/cancellation.h"
#include "overlay/remote/hole_map.h"
#include "tests/unit/remote/nbdkit_server.h"
#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;
using std::chrono::milliseconds;
using Words = std::vector<std::string>;

namespace {

constexpr uint64_t kImageBytes = 4 << 20;
const Words kPattern = {"pattern", "size=4M"};

std::byte pattern_at(uint64_t offset) {
  const uint64_t word = offset / 8 * 8;
  return static_cast<std::byte>(word >> (8 * (7 - offset % 8)));
}

bool is_pattern(uint64_t offset, ConstByteSpan bytes) {
  for (const std::byte byte : bytes) {
    if (byte != pattern_at(offset++)) {
      return false;
    }
  }
  return true;
}

// Lines that were logged, by any thread.
class Lines {
 public:
  LogSink sink() {
    return [this](const std::string& line) {
      const MutexLock lock(mutex_);
      text_ += line + "\n";
    };
  }
  size_t count(const std::string& part) {
    const MutexLock lock(mutex_);
    size_t found = 0;
    for (size_t at = text_.find(part); at != std::string::npos; at = text_.find(part, at + 1)) {
      ++found;
    }
    return found;
  }

 private:
  Mutex mutex_;
  std::string text_;
};

struct Remote {
  explicit Remote(const Words& arguments, RemoteOptions options = {}, SameImageCheck check = {})
      : server(arguments), file(value_of(RemoteFile::open(server.uri(), options, lines.sink()))) {
    file->compare_by(std::move(check));
    file->start();
  }

  Lines lines;
  NbdkitServer server;
  std::unique_ptr<RemoteFile> file;
};

// Past the cache of metadata.
Result<void> read_as_client(const RemoteFile& file, uint64_t offset, ByteSpan buffer) {
  const ReadRange range{&file, offset, buffer};
  const auto pending = file.begin_reads(std::span(&range, 1));
  return pending ? pending->finish() : file.read(offset, buffer);
}

RemoteOptions with_timeout(milliseconds timeout) {
  RemoteOptions options;
  options.timeout = timeout;
  return options;
}

template <typename Predicate>
bool comes_true(Predicate&& predicate) {
  for (int tries = 0; tries < 1000 && !predicate(); ++tries) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  return predicate();
}

void check_reads(const RemoteFile& file) {
  std::mt19937 random(7);
  for (const size_t length : {1, 7, 512, 4096, 5000, 65536, 300000}) {
    for (int i = 0; i < 6; ++i) {
      const uint64_t offset = i == 0   ? 0
                              : i == 1 ? kImageBytes - length
                                       : random() % (kImageBytes - length);
      std::vector<std::byte> bytes(length);
      expect_success(read_as_client(file, offset, bytes));
      CHECK(is_pattern(offset, bytes));
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
      expect_success(file.read(offset, bytes));
      CHECK(is_pattern(offset, bytes));
    }
  }
}

}  // namespace

TEST_CASE("Remote file: reads of every alignment", "[remote_file]") {
  SECTION("as the server likes it") {
    check_reads(*Remote(kPattern).file);
  }
  SECTION("in blocks of 4096 bytes, of at most 64 KiB") {
    const Remote remote({"--filter=blocksize-policy", "pattern", "size=4M",
                         "blocksize-minimum=4096", "blocksize-maximum=64K",
                         "blocksize-error-policy=error"});
    check_reads(*remote.file);
  }
  SECTION("before there are threads") {
    Lines lines;
    NbdkitServer server(kPattern);
    const auto file = value_of(RemoteFile::open(server.uri(), {}, lines.sink()));
    check_reads(*file);
    file->suspend();
    check_reads(*file);
  }
}

TEST_CASE("Remote file: what cannot be read is an error", "[remote_file]") {
  Lines lines;
  SECTION("past the end") {
    const Remote remote(kPattern);
    std::array<std::byte, 2> bytes;
    expect_error(remote.file->read(kImageBytes - 1, bytes), {"ends at offset"});
    expect_error(read_as_client(*remote.file, UINT64_MAX, bytes), {"ends at offset"});
  }
  SECTION("a tail that is shorter than a block") {
    NbdkitServer server({"--filter=blocksize-policy", "pattern", "size=10000",
                         "blocksize-minimum=4096", "blocksize-error-policy=error"});
    CHECK(expect_error(RemoteFile::open(server.uri(), {}, lines.sink()), {"tail"}) ==
          ErrorKind::kUnsupported);
  }
  SECTION("a server that is not there") {
    NbdkitServer server(kPattern);
    server.kill();
    CHECK(expect_error(RemoteFile::open(server.uri(), {}, lines.sink()), {server.uri()}) ==
          ErrorKind::kSystem);
  }
  SECTION("an export that is not there") {
    NbdkitServer server(
        {"--filter=exportname", "pattern", "size=4M", "exportname-strict=true", "exportname=base"});
    expect_error(RemoteFile::open(server.uri(), {}, lines.sink()), {server.uri()});
  }
  SECTION("what the server refuses") {
    Remote remote({"--filter=error", "pattern", "size=4M", "error-pread-rate=100%"});
    std::array<std::byte, 2> bytes;
    const auto result = read_as_client(*remote.file, 5, bytes);
    expect_error(result, {"from 5 to 7 cannot be read", "Input/output"});
    CHECK(result.error().error_number == EIO);
    CHECK(remote.lines.count("lost") == 0);
  }
}

TEST_CASE("Remote file: ranges of one request are one", "[remote_file]") {
  // Each read takes 100 ms, so that 64 of them would take 6 s.
  const Remote remote({"--filter=delay", "pattern", "size=4M", "rdelay=100ms"});
  std::vector<std::vector<std::byte>> buffers(64, std::vector<std::byte>(4096));
  std::vector<ReadRange> ranges;
  SECTION("near each other") {
    for (size_t i = 0; i < buffers.size(); ++i) {
      ranges.push_back({remote.file.get(), (63 - i) * 8192, buffers[i]});
    }
  }
  SECTION("far from each other") {
    for (size_t i = 0; i < 16; ++i) {
      ranges.push_back({remote.file.get(), 4096 + i * 250'000, buffers[i]});
    }
  }
  const auto begin = std::chrono::steady_clock::now();
  expect_success(remote.file->begin_reads(ranges)->finish());
  CHECK(std::chrono::steady_clock::now() - begin < milliseconds(900));
  for (const ReadRange& range : ranges) {
    CHECK(is_pattern(range.offset, range.buffer));
  }
}

TEST_CASE("Remote file: holes are not fetched", "[remote_file]") {
  const Remote remote({"data", "data=(1)*65536 @2097152 (2)*65536", "size=4M"});
  const RemoteFile& file = *remote.file;
  CHECK(comes_true([&] { return file.extent_at(1 << 20).is_hole; }));
  CHECK_FALSE(file.extent_at(0).is_hole);
  CHECK(file.extent_at(1 << 20).end == 2 << 20);
  CHECK_FALSE(file.extent_at(2 << 20).is_hole);
  CHECK(file.extent_at(3 << 20).end == 4 << 20);
  std::vector<std::byte> bytes((2 << 20) + 65536, std::byte{9});
  CHECK(file.read_cached(1 << 20, ByteSpan(bytes).first(1 << 20)) == 1 << 20);
  CHECK(all_zeros(ConstByteSpan(bytes).first(1 << 20)));
  std::fill(bytes.begin(), bytes.end(), std::byte{9});
  expect_success(read_as_client(file, 0, bytes));
  CHECK(bytes[65535] == std::byte{1});
  CHECK(bytes[65536] == std::byte{0});
  CHECK(bytes[(2 << 20) - 1] == std::byte{0});
  CHECK(bytes[2 << 20] == std::byte{2});
}

TEST_CASE("Hole map: what lies between two holes", "[remote_file]") {
  HoleMap map;
  map.add(10, 20);
  map.add(20, 30);
  map.add(50, 60);
  CHECK(map.extent_at(0, 100).end == 10);
  CHECK(map.extent_at(15, 100).is_hole);
  CHECK(map.extent_at(15, 100).end == 30);
  CHECK_FALSE(map.extent_at(30, 100).is_hole);
  CHECK(map.extent_at(30, 100).end == 50);
  CHECK(map.extent_at(60, 100).end == 100);
}

TEST_CASE("Remote file: metadata is read once", "[remote_file]") {
  Remote remote(kPattern);
  std::vector<std::byte> bytes(4096);
  expect_success(remote.file->read(70'000, bytes));
  CHECK(remote.file->read_cached(65'536, bytes) == 4096);
  CHECK(is_pattern(65'536, bytes));
  CHECK(remote.file->read_cached(131'072 - 1000, bytes) == 1000);
  expect_success(read_as_client(*remote.file, 1 << 20, bytes));
  CHECK(remote.file->read_cached(1 << 20, bytes) == 0);
  remote.server.kill();
  expect_success(remote.file->read(120'000, bytes));
}

TEST_CASE("Remote file: a server that does not answer in time", "[remote_file]") {
  Remote remote({"--filter=delay", "pattern", "size=4M", "rdelay=2"},
                with_timeout(milliseconds(300)));
  std::vector<std::byte> bytes(4096);
  const auto begin = std::chrono::steady_clock::now();
  const auto result = read_as_client(*remote.file, 0, bytes);
  expect_error(result, {"no answer in time"});
  CHECK(result.error().error_number == EIO);
  CHECK(std::chrono::steady_clock::now() - begin < milliseconds(1500));
  CHECK(remote.lines.count("lost") <= 1);
  remote.server.kill();
  remote.server.start(kPattern);
  CHECK(comes_true([&] { return read_as_client(*remote.file, 0, bytes).has_value(); }));
  CHECK(is_pattern(0, bytes));
}

TEST_CASE("Remote file: readers wait for a server that is started again", "[remote_file]") {
  Remote remote({"--filter=delay", "pattern", "size=4M", "rdelay=5ms"});
  std::atomic<bool> is_over{false};
  std::atomic<size_t> wrong{0};
  std::atomic<size_t> right{0};
  std::vector<std::thread> readers;
  for (unsigned seed = 0; seed < 8; ++seed) {
    readers.emplace_back([&, seed] {
      std::mt19937 random(seed);
      std::vector<std::byte> bytes(8192);
      while (!is_over) {
        const uint64_t offset = random() % (kImageBytes - bytes.size());
        const bool is_right =
            read_as_client(*remote.file, offset, bytes) && is_pattern(offset, bytes);
        ++(is_right ? right : wrong);
      }
    });
  }
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(milliseconds(100));
    remote.server.kill();
    std::this_thread::sleep_for(milliseconds(50));
    remote.server.start({"--filter=delay", "pattern", "size=4M", "rdelay=5ms"});
    const size_t before = right;
    CHECK(comes_true([&] { return right > before + 20; }));
  }
  is_over = true;
  for (std::thread& reader : readers) {
    reader.join();
  }
  CHECK(wrong == 0);
  CHECK(remote.lines.count("requests wait") == remote.lines.count("is there again, and"));
  CHECK(remote.lines.count("is there again, and") >= 1);
}

TEST_CASE("Remote file: requests fail when a server stays away", "[remote_file]") {
  Remote remote(kPattern, with_timeout(milliseconds(200)));
  std::vector<std::byte> bytes(4096);
  expect_success(read_as_client(*remote.file, 0, bytes));
  remote.server.kill();
  for (int i = 0; i < 2; ++i) {
    expect_error(read_as_client(*remote.file, 0, bytes), {"no answer in time"});
  }
  CHECK(remote.lines.count("requests wait") == 1);
}

TEST_CASE("Remote file: another image is refused for good", "[remote_file]") {
  const SameImageCheck check = [](const Image& now) -> Result<void> {
    using Word = std::array<std::byte, 8>;
    UNIONFS_ASSIGN(const Word word, read_structure<Word>(now, 4096));
    return is_pattern(4096, word) ? Result<void>() : invalid("it differs");
  };
  Remote remote(kPattern, with_timeout(milliseconds(2000)), check);
  std::vector<std::byte> bytes(4096);
  expect_success(read_as_client(*remote.file, 0, bytes));
  expect_success(remote.file->check_same());
  remote.server.kill();
  SECTION("by its size") {
    remote.server.start({"pattern", "size=5M"});
  }
  SECTION("by its content") {
    remote.server.start({"memory", "size=4M"});
  }
  expect_error(read_as_client(*remote.file, 0, bytes), {"is another image"});
  expect_error(remote.file->check_same(), {"is another image"});
  remote.server.kill();
  remote.server.start(kPattern);
  expect_error(remote.file->read(0, bytes), {"is another image"});
  CHECK(remote.file->read_cached(0, bytes) == 0);
  CHECK(remote.lines.count("every request fails from now on") == 1);
}

TEST_CASE("Remote file: the image is compared from time to time", "[remote_file]") {
  std::atomic<bool> is_changed{false};
  RemoteOptions options;
  options.check_period = milliseconds(50);
  Remote remote(kPattern, options, [&](const Image&) -> Result<void> {
    return is_changed ? invalid("it differs") : Result<void>();
  });
  std::vector<std::byte> bytes(4096);
  expect_success(read_as_client(*remote.file, 0, bytes));
  is_changed = true;
  CHECK(comes_true([&] { return !read_as_client(*remote.file, 0, bytes); }));
  expect_error(read_as_client(*remote.file, 0, bytes), {"is another image"});
}

TEST_CASE("Remote file: an end while the server is away", "[remote_file]") {
  Remote remote(kPattern, with_timeout(milliseconds(0)));
  remote.server.kill();
  const auto begin = std::chrono::steady_clock::now();
  remote.file.reset();
  CHECK(std::chrono::steady_clock::now() - begin < milliseconds(1000));
}

TEST_CASE("Remote file: a process that is to end does not wait for ever", "[remote_file]") {
  RemoteOptions options = with_timeout(milliseconds(0));
  options.time_at_end = milliseconds(200);
  Remote remote(kPattern, options);
  remote.server.kill();
  std::atomic<bool> has_failed{false};
  std::thread reader([&] {
    std::vector<std::byte> bytes(4096);
    has_failed = !read_as_client(*remote.file, 0, bytes);
  });
  std::this_thread::sleep_for(milliseconds(300));
  CHECK_FALSE(has_failed);
  remote.file->end_soon();
  reader.join();
  CHECK(has_failed);
  // From then on all have so much time, and no less: what is there can be read.
  std::vector<std::byte> bytes(4096);
  expect_error(read_as_client(*remote.file, 0, bytes), {"no answer in time"});
  remote.server.start(kPattern);
  CHECK(comes_true([&] { return read_as_client(*remote.file, 0, bytes).has_value(); }));
}

TEST_CASE("Remote file: what is cancelled is not waited for", "[remote_file]") {
  const bool is_silent = GENERATE(false, true);
  CAPTURE(is_silent);
  Words words = kPattern;
  if (is_silent) {
    words = {"--filter=delay", "pattern", "size=4M", "rdelay=20"};
  }
  Remote remote(words, with_timeout(milliseconds(0)));
  if (!is_silent) {
    remote.server.kill();
  }
  std::atomic<bool> is_cancelled{false};
  std::optional<Error> error;
  std::thread reader([&] {
    const CancellableWaits waits(is_cancelled);
    std::vector<std::byte> bytes(4096);
    const Result<void> read = read_as_client(*remote.file, 0, bytes);
    error = read ? std::nullopt : std::optional(read.error());
  });
  std::this_thread::sleep_for(milliseconds(300));
  const auto begin = std::chrono::steady_clock::now();
  is_cancelled = true;
  reader.join();
  CHECK(std::chrono::steady_clock::now() - begin < milliseconds(3000));
  REQUIRE(error);
  CHECK(error->error_number == ECANCELED);
  // Nobody else is: not this thread, and not later.
  CHECK(CancellableWaits::current() == nullptr);
  remote.server.kill();
  remote.server.start(kPattern);
  std::vector<std::byte> bytes(4096);
  expect_success(read_as_client(*remote.file, 0, bytes));
  CHECK(is_pattern(0, bytes));
}

TEST_CASE("Remote file: no message has the secrets of its address", "[remote_file]") {
  Lines lines;
  const auto says_no_secret = [](const Result<void>& failed) {
    REQUIRE_FALSE(failed);
    INFO(failed.error().message);
    CHECK(failed.error().message.starts_with("nbd"));
    CHECK_FALSE(failed.error().message.find("secret") != std::string::npos);
  };
  NbdkitServer server({"pattern", "size=4M", "--filter=error", "error-pread-rate=100%"});
  const auto file = value_of(RemoteFile::open(server.uri() + "&key=secret", {}, lines.sink()));
  CHECK(file->name() == server.uri());
  CHECK(file->uri() == server.uri() + "&key=secret");
  std::vector<std::byte> bytes(512);
  says_no_secret(file->read(kImageBytes, bytes));
  says_no_secret(file->read(0, bytes));
  file->start();
  says_no_secret(file->read(kImageBytes, bytes));
  says_no_secret(file->read(0, bytes));
  CHECK(lines.count("secret") == 0);

  const auto refused = RemoteFile::open("nbd://host:secret/?key=secret", {}, lines.sink());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("key=") == std::string::npos);
}

TEST_CASE("Remote file: threads read before it starts", "[remote_file]") {
  NbdkitServer server({"pattern", "size=4M", "--filter=delay", "rdelay=1ms"});
  Lines lines;
  const auto file = value_of(RemoteFile::open(server.uri(), {}, lines.sink()));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&file, &wrong, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 50; ++i) {
        std::vector<std::byte> bytes(1 + random() % 100'000);
        const uint64_t offset = random() % (kImageBytes - bytes.size());
        const bool is_right = file->read(offset, bytes) && is_pattern(offset, bytes);
        wrong += is_right ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
  file->suspend();
  file->start();
  check_reads(*file);
}

TEST_CASE("Remote file: a server that does not answer before the start is waited for once",
          "[remote_file]") {
  NbdkitServer server({"--filter=delay", "pattern", "size=4M", "rdelay=2"});
  Lines lines;
  const auto file =
      value_of(RemoteFile::open(server.uri(), with_timeout(milliseconds(400)), lines.sink()));
  expect_success(file->check_no_read_failed());
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < 4; ++i) {
    threads.emplace_back([&file, &failed, i] {
      std::vector<std::byte> bytes(512);
      failed += file->read(i << 20, bytes) ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(failed == 4);
  CHECK(std::chrono::steady_clock::now() - begin < milliseconds(1200));
  expect_error(file->check_no_read_failed(), {"timed out"});
}

TEST_CASE("Remote file: who reads ahead pushes nothing out of memory", "[remote_file]") {
  constexpr uint64_t kHalf = ChunkCache::kMostChunks / 2 * ChunkCache::kChunkBytes;
  NbdkitServer server({"pattern", "size=64M"});
  Lines lines;
  const auto file = value_of(RemoteFile::open(server.uri(), {}, lines.sink()));
  CHECK(file->keeps_chunks());
  std::vector<std::byte> bytes(kHalf);
  file->read_only_ahead(true);
  expect_success(file->read(0, bytes));
  expect_success(file->read(0, bytes));  // once more, from memory
  const auto refused = file->read(kHalf, std::span(bytes).first(512));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().error_number == ECANCELED);
  expect_success(file->check_no_read_failed());
  file->read_only_ahead(false);
  expect_success(file->read(kHalf, bytes));
  CHECK(file->read_cached(0, bytes) == kHalf);

  NbdkitServer coarse({"pattern", "size=4M", "--filter=blocksize-policy", "blocksize-minimum=64K",
                       "blocksize-preferred=128K", "blocksize-maximum=1M",
                       "blocksize-error-policy=allow"});
  CHECK(value_of(RemoteFile::open(coarse.uri(), {}, lines.sink()))->keeps_chunks());
}
