// SPDX-License-Identifier: BSD-3-Clause
//
// Reads of what the host has cached, with a host that says itself what that is, and counts how
// often it is asked.
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <vector>

#include "overlay/host/batch_reader.h"
#include "overlay/host/posix_file.h"
#include "tests/unit/support/expect.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint64_t kCachePageBytes = 4096;
constexpr uint64_t kPages = 256;
constexpr std::byte kUntouched{0xEE};

// The host as these tests want it.
struct FakeHost {
  size_t calls = 0;
  bool knows_no_wait = true;
  bool is_full = true;  // all pages are cached
  std::vector<bool> cached = std::vector<bool>(kPages);

  // How many bytes from `offset` on, up to `length`, are cached.
  uint64_t cached_bytes(uint64_t offset, uint64_t length) const {
    uint64_t end = offset;
    while (end < offset + length && end / kCachePageBytes < kPages &&
           (is_full || cached[end / kCachePageBytes])) {
      end = (end / kCachePageBytes + 1) * kCachePageBytes;
    }
    return std::min(end - offset, length);
  }
};

FakeHost host;

}  // namespace

// In the place of libc's.
ssize_t preadv2(int descriptor, const iovec* parts, int count, off_t offset, int flags) {
  ++host.calls;
  std::vector<iovec> left(parts, parts + count);
  if ((flags & RWF_NOWAIT) != 0) {
    if (!host.knows_no_wait) {
      errno = EOPNOTSUPP;
      return -1;
    }
    uint64_t length = 0;
    for (const iovec& part : left) {
      length += part.iov_len;
    }
    uint64_t allowed = host.cached_bytes(static_cast<uint64_t>(offset), length);
    if (allowed == 0) {
      errno = EAGAIN;
      return -1;
    }
    for (iovec& part : left) {
      part.iov_len = std::min<uint64_t>(part.iov_len, allowed);
      allowed -= part.iov_len;
    }
  }
  return ::syscall(SYS_preadv2, descriptor, left.data(), count, offset, 0, 0);
}

namespace {

std::vector<std::byte> content_of(uint8_t seed) {
  std::vector<std::byte> bytes(kPages * kCachePageBytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 256 + seed);
  }
  return bytes;
}

std::unique_ptr<PosixFile> file_with(uint8_t seed) {
  auto file = value_of(PosixFile::create_in_memory());
  const std::vector<std::byte> bytes = content_of(seed);
  expect_success(file->resize(bytes.size()));
  expect_success(file->write(0, bytes));
  return file;
}

// Ranges, the buffers that they are read into, and what was asked of them.
class Wanted {
 public:
  void add(const ReadableFile& file, uint64_t offset, uint64_t length) {
    asked_.push_back({&file, offset, std::vector<std::byte>(length, kUntouched)});
  }
  // `count` ranges of `length` bytes, with gaps between them.
  void add_row(const ReadableFile& file, uint64_t offset, size_t count, uint64_t length,
               uint64_t gap) {
    for (size_t i = 0; i < count; ++i) {
      add(file, offset + i * (length + gap), length);
    }
  }
  std::vector<ReadRange> ranges() {
    std::vector<ReadRange> made;
    for (Asked& asked : asked_) {
      made.push_back({asked.file, asked.offset, asked.bytes});
    }
    return made;
  }
  // Whether all that the ranges were advanced past is right, and the rest is untouched.
  bool is_right(const std::vector<ReadRange>& ranges) const {
    for (size_t i = 0; i < ranges.size(); ++i) {
      const Asked& asked = asked_[i];
      const size_t got = asked.bytes.size() - ranges[i].buffer.size();
      std::vector<std::byte> right(asked.bytes.size(), kUntouched);
      if (ranges[i].offset != asked.offset + got ||
          !asked.file->read(asked.offset, ByteSpan(right).first(got)) || asked.bytes != right) {
        return false;
      }
    }
    return true;
  }
  bool is_all_read() const {
    return std::all_of(asked_.begin(), asked_.end(), [](const Asked& asked) {
      std::vector<std::byte> right(asked.bytes.size());
      return asked.file->read(asked.offset, right) && asked.bytes == right;
    });
  }

 private:
  struct Asked {
    const ReadableFile* file = nullptr;
    uint64_t offset = 0;
    std::vector<std::byte> bytes;
  };

  std::vector<Asked> asked_;
};

size_t whole_count(const std::vector<ReadRange>& ranges) {
  return static_cast<size_t>(std::count_if(
      ranges.begin(), ranges.end(), [](const ReadRange& range) { return range.buffer.empty(); }));
}

// What the file reads of the ranges, in how many calls.
struct Outcome {
  size_t whole = 0;
  size_t calls = 0;

  bool operator==(const Outcome&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << outcome.whole << " ranges, " << outcome.calls << " calls";
}

Outcome read_from(const PosixFile& file, Wanted& wanted) {
  std::vector<ReadRange> ranges = wanted.ranges();
  host.calls = 0;
  file.read_cached_ranges(ranges);
  CHECK(wanted.is_right(ranges));
  return {whole_count(ranges), host.calls};
}

}  // namespace

TEST_CASE("Cached reads: near ranges are one system call", "[cached_reads]") {
  host = {};
  const auto file = file_with(1);
  for (const uint64_t gap : {0, 1, 512, 4096}) {
    Wanted wanted;
    wanted.add_row(*file, 512, 32, 4096, gap);
    CHECK(read_from(*file, wanted) == Outcome{32, 1});
  }
  Wanted uneven;
  uneven.add(*file, 100, 3);
  uneven.add(*file, 103, 5000);
  uneven.add(*file, 6000, 1);
  CHECK(read_from(*file, uneven) == Outcome{3, 1});
}

TEST_CASE("Cached reads: a long gap is not read", "[cached_reads]") {
  host = {};
  const auto file = file_with(1);
  Wanted wanted;
  wanted.add_row(*file, 0, 4, 4096, 0);
  wanted.add_row(*file, 128 * 1024, 4, 4096, 4096);
  CHECK(read_from(*file, wanted) == Outcome{8, 2});
}

TEST_CASE("Cached reads: where only what is wanted is cached, each range is one call",
          "[cached_reads]") {
  host = {};
  host.is_full = false;
  const auto file = file_with(1);
  for (size_t page = 0; page < kPages; page += 2) {
    host.cached[page] = true;
  }
  Wanted wanted;
  wanted.add_row(*file, 0, 32, 4096, 4096);
  CHECK(read_from(*file, wanted) == Outcome{32, 32});
}

TEST_CASE("Cached reads: a lone gap that is not cached costs one more call", "[cached_reads]") {
  host = {};
  host.is_full = false;
  host.cached.assign(kPages, true);
  host.cached[21] = false;
  const auto file = file_with(1);
  Wanted wanted;
  wanted.add_row(*file, 0, 32, 4096, 4096);
  CHECK(read_from(*file, wanted) == Outcome{32, 2});
}

TEST_CASE("Cached reads: what is not cached is left, with what is behind it", "[cached_reads]") {
  host = {};
  host.is_full = false;
  const auto file = file_with(1);
  Wanted nothing;
  nothing.add_row(*file, 0, 32, 4096, 4096);
  CHECK(read_from(*file, nothing) == Outcome{0, 1});

  host.cached.assign(kPages, true);
  host.cached[5] = false;
  Wanted half;
  half.add_row(*file, 0, 8, 2 * kCachePageBytes, 4096);  // page 5 is a gap, and page 4 is wanted
  CHECK(read_from(*file, half) == Outcome{8, 2});
  host.cached[5] = true;
  host.cached[4] = false;
  Wanted cut;
  cut.add_row(*file, 0, 8, 2 * kCachePageBytes, 4096);
  CHECK(read_from(*file, cut).whole == 1);
}

TEST_CASE("Cached reads: the end of the file ends them", "[cached_reads]") {
  host = {};
  const auto file = file_with(1);
  Wanted wanted;
  wanted.add(*file, kPages * kCachePageBytes - 8192, 4096);
  wanted.add(*file, kPages * kCachePageBytes - 2048, 4096);
  std::vector<ReadRange> ranges = wanted.ranges();
  file->read_cached_ranges(ranges);
  CHECK(ranges[0].buffer.empty());
  CHECK(ranges[1].buffer.size() == 2048);
  BatchReader reader;
  CHECK(expect_error(reader.read(ranges), {"ends at offset"}) == ErrorKind::kCorrupt);
}

TEST_CASE("Cached reads: a host without them reads files in memory plainly", "[cached_reads]") {
  host = {};
  host.knows_no_wait = false;
  const auto file = file_with(1);
  Wanted wanted;
  wanted.add_row(*file, 0, 16, 4096, 1024);
  CHECK(read_from(*file, wanted) == Outcome{16, 2});  // the first is refused
  Wanted again;
  again.add_row(*file, 0, 16, 4096, 1024);
  CHECK(read_from(*file, again) == Outcome{16, 1});
}

TEST_CASE("Cached reads: a request of runs in turn is one call for each file", "[cached_reads]") {
  host = {};
  const auto lower = file_with(1);
  const auto upper = file_with(2);
  BatchReader reader;
  Wanted wanted;
  for (uint64_t page = 0; page < 64; ++page) {
    wanted.add(page % 2 == 0 ? *lower : *upper, page * kCachePageBytes, kCachePageBytes);
  }
  std::vector<ReadRange> ranges = wanted.ranges();
  host.calls = 0;
  expect_success(reader.read_cached_first(ranges, ReadBy::kClient));
  CHECK(wanted.is_all_read());
  CHECK(host.calls == 2);
}

TEST_CASE("Cached reads: whatever is cached, all is read, in no more calls than ranges",
          "[cached_reads]") {
  std::mt19937 random(7);
  const auto lower = file_with(1);
  const auto upper = file_with(2);
  BatchReader reader;
  for (int turn = 0; turn < 300; ++turn) {
    host = {};
    host.is_full = false;
    const uint64_t share = random() % 5;
    for (auto page : host.cached) {
      page = random() % 4 < share;
    }
    Wanted wanted;
    size_t count = 0;
    for (uint64_t offset = random() % 5000; count < 64; ++count) {
      const uint64_t length = 1 + random() % 6000;
      wanted.add(random() % 2 == 0 ? *lower : *upper, offset, length);
      offset += length + (random() % 2) * (random() % 9000);
    }
    std::vector<ReadRange> ranges = wanted.ranges();
    std::shuffle(ranges.begin(), ranges.end(), random);
    expect_success(reader.read_cached_first(ranges, ReadBy::kClient));
    CHECK(wanted.is_all_read());
    CHECK(host.calls <= count);
  }
}
