// SPDX-License-Identifier: BSD-3-Clause
//
// Every way a request can take through a session, against a model of bytes;
// and what it does to the space of the upper.
#include <algorithm>
#include <random>

#include "tests/unit/session/session_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// A range by its place around one block.
struct Shape {
  const char* name;
  int64_t begin_256ths;  // of a block, from the block's start
  int64_t end_256ths;
};

constexpr Shape kShapes[] = {
    {"whole", 0, 256},
    {"head", 0, 100},
    {"tail", 77, 256},
    {"middle", 60, 61},
    {"across both ends", -130, 300},
    {"five blocks", -512, 768},
    {"unaligned", -500, 700},
};

struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

ByteRange range_of(const Shape& shape, BlockNumber block, const SessionBench& bench) {
  const auto size = static_cast<int64_t>(bench.block_size());
  const auto base = static_cast<int64_t>(block.value()) * size;
  const auto limit = static_cast<int64_t>(small_merged_size(bench.block_size()));
  const int64_t begin = std::max<int64_t>(0, base + shape.begin_256ths * size / 256);
  const int64_t end = std::min(limit, base + shape.end_256ths * size / 256);
  return {static_cast<uint64_t>(begin), static_cast<uint64_t>(end - begin)};
}

const char* name_of(Action action) {
  constexpr const char* kNames[] = {"write", "zero", "zero and trim", "trim"};
  return kNames[static_cast<size_t>(action)];
}

// Two requests, one after the other, at one place.
void check_pair(uint32_t block_size, const NamedPlace& place, Action first,
                const Shape& first_shape, Action second, const Shape& second_shape) {
  INFO(place.name << " of " << block_size << ": " << name_of(first) << " " << first_shape.name
                  << ", then " << name_of(second) << " " << second_shape.name);
  SessionBench bench(block_size);
  const uint64_t window = uint64_t{5} * block_size;
  const uint64_t middle = place.block.value() * block_size;
  const uint64_t begin = middle > window ? middle - window : 0;
  const uint64_t length = std::min(2 * window, small_merged_size(block_size) - begin);
  const ByteRange one = range_of(first_shape, place.block, bench);
  bench.apply(first, one.offset, one.length, 1);
  bench.check(begin, length);
  const ByteRange two = range_of(second_shape, place.block, bench);
  bench.apply(second, two.offset, two.length, 2);
  bench.check(begin, length);
  if (first != Action::kZeroAndTrim && first != Action::kTrim && second != Action::kZeroAndTrim &&
      second != Action::kTrim) {
    CHECK(bench.upper().count(FileOperation::kPunch) == 0);
  }
  CHECK_FALSE(bench.upper().has_store_without_space());
}

}  // namespace

TEST_CASE("Session: every route, every kind of change, first and again", "[session]") {
  for (const uint32_t block_size : {1024U, 4096U}) {
    for (const NamedPlace& place : BenchImages::of(block_size).places()) {
      for (const Action first : kActions) {
        for (const Shape& first_shape : kShapes) {
          for (const Action second : kActions) {
            // Every shape after every shape would be 17000 pairs: the second
            // goes around with the first.
            const size_t turn = static_cast<size_t>(&first_shape - kShapes);
            for (const size_t step : {size_t{0}, size_t{1}, size_t{3}}) {
              check_pair(block_size, place, first, first_shape, second,
                         kShapes[(turn + step) % std::size(kShapes)]);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("Session: a long mixture, reopened time and again", "[session]") {
  for (const uint32_t block_size : {1024U, 2048U, 4096U}) {
    SessionBench bench(block_size);
    std::mt19937_64 random(block_size);
    const uint64_t size = small_merged_size(block_size);
    for (int i = 0; i < 600; ++i) {
      uint64_t length = 1 + random() % (random() % 4 == 0 ? 60 * block_size : 3 * block_size);
      uint64_t offset = random() % (size - length);
      if (random() % 3 == 0) {  // whole blocks
        offset -= offset % block_size;
        length = round_up(length, block_size);
      }
      bench.apply(kActions[random() % 4], offset, std::min(length, size - offset), random());
      if (i % 100 == 99) {
        bench.check_all();
        bench.check_extents();
        bench.reopen(random() % 2 == 0);
        bench.check_all();
      }
    }
    expect_success(bench.disk().flush());
    bench.reopen(false, kNextBootId);
    bench.check_all();
    CHECK_FALSE(bench.upper().has_store_without_space());
  }
}

TEST_CASE("Session: reads of any alignment", "[session]") {
  SessionBench bench(1024);
  std::mt19937_64 random(5);
  const uint64_t size = small_merged_size(1024);
  for (int i = 0; i < 100; ++i) {
    bench.apply(Action::kWrite, random() % (size - 5000), 1 + random() % 5000, random());
  }
  for (const bool cached : {true, false}) {
    bench.upper().abilities().cached_reads = cached;
    for (int i = 0; i < 300; ++i) {
      const uint64_t length = 1 + random() % 200000;
      bench.check(random() % (size - length), length);
    }
    bench.check(size - 1, 1);
    bench.check(0, 1);
  }
}

TEST_CASE("Session: what is trimmed reads as zeros, whosever it was", "[session]") {
  for (const uint32_t block_size : {1024U, 4096U}) {
    SessionBench bench(block_size);
    for (const NamedPlace& place : BenchImages::of(block_size).places()) {
      INFO(place.name << " of " << block_size);
      const uint64_t offset = place.block.value() * block_size;
      bench.apply(Action::kTrim, offset - std::min<uint64_t>(offset, 1), block_size + 2);
      bench.check_all();
    }
    bench.apply(Action::kTrim, 0, small_merged_size(block_size));
    CHECK(bench.upper().count(FileOperation::kWrite) == 2);  // a page of each bitmap
    bench.check_all();
    bench.reopen(true);
    bench.check_all();
  }
}

// ---- space -------------------------------------------------------------------

TEST_CASE("Session: zeroes keep or give back space as they are told", "[session]") {
  SessionBench bench(4096);
  const uint64_t offset = BenchImages::of(4096).place("zeros").value() * 4096;
  bench.apply(Action::kZero, offset, 3 * 4096);
  CHECK(bench.upper().is_allocated(offset));
  CHECK(bench.upper().is_allocated(offset + 2 * 4096));
  CHECK(bench.upper().count(FileOperation::kPunch) == 0);
  bench.apply(Action::kZeroAndTrim, offset, 3 * 4096);
  CHECK_FALSE(bench.upper().is_allocated(offset));
  CHECK_FALSE(bench.upper().is_allocated(offset + 2 * 4096));
  bench.check_all();
  // What has no space and reads as zeros needs nothing done.
  bench.upper().reset_counts();
  bench.apply(Action::kZeroAndTrim, offset + 20 * 4096, 4096);
  CHECK(bench.upper().count(FileOperation::kPunch) == 0);
  CHECK(bench.upper().count(FileOperation::kWrite) == 0);
}

TEST_CASE("Session: trimming small blocks one by one frees the host's", "[session]") {
  SessionBench bench(1024);
  const BlockNumber first(round_up(BenchImages::of(1024).place("zeros").value(), 4));
  const uint64_t offset = first.value() * 1024;
  bench.apply(Action::kWrite, offset, 8 * 1024);
  CHECK(bench.upper().is_allocated(offset));
  for (const uint64_t block : {3, 0, 2, 1}) {
    CHECK(bench.upper().is_allocated(offset));
    bench.apply(Action::kTrim, offset + block * 1024, 1024);
  }
  // Written neighbours keep their host block: a bit says nothing of zeros.
  // Both halves in one request are one host block.
  bench.apply(Action::kTrim, offset + 4096, 4096);
  CHECK_FALSE(bench.upper().is_allocated(offset + 4096));
  bench.check_all();
}

TEST_CASE("Session: a trim takes dead neighbours along, and no others", "[session]") {
  SessionBench bench(1024);
  const BlockNumber first(round_up(BenchImages::of(1024).place("zeros").value(), 4));
  const uint64_t offset = first.value() * 1024;
  bench.apply(Action::kWrite, offset + 1024, 1024);  // the other three were never touched
  CHECK(bench.upper().is_allocated(offset));
  bench.apply(Action::kTrim, offset + 1024, 1024);
  CHECK_FALSE(bench.upper().is_allocated(offset));

  bench.apply(Action::kWrite, offset + 4096, 2048);
  bench.apply(Action::kTrim, offset + 4096, 1024);
  CHECK(bench.upper().is_allocated(offset + 4096));
  bench.check_all();

  // Zero with leave to trim does the same.
  bench.apply(Action::kWrite, offset + 8192, 1024);
  bench.apply(Action::kZeroAndTrim, offset + 8192, 1024);
  CHECK_FALSE(bench.upper().is_allocated(offset + 8192));
}

TEST_CASE("Session: a trim beside metadata leaves the layer whole", "[session]") {
  SessionBench bench(1024);
  const Geometry& geometry = bench.disk().geometry();
  for (const FixedRange& range : geometry.fixed_ranges()) {
    if (range.kind == FixedKind::kBoot ||
        range.blocks.end.value() >= geometry.merged().block_count) {
      continue;
    }
    for (const BlockNumber beside : {range.blocks.begin - 1, range.blocks.end}) {
      bench.apply(Action::kWrite, beside.value() * 1024, 1024, beside.value());
      bench.apply(Action::kTrim, beside.value() * 1024, 1024);
    }
  }
  for (const TranslatedBlock& entry : bench.disk().layer().layer().tables().translated) {
    bench.apply(Action::kWrite, (entry.block.value() - 1) * 1024, 3072);
    bench.apply(Action::kTrim, (entry.block.value() - 1) * 1024, 3072);
  }
  bench.check_all();
  bench.reopen(true);
  bench.check_all();
}

// ---- what the host cannot do -----------------------------------------------------

TEST_CASE("Session: a fast zero is refused before it has any effect", "[session]") {
  const BenchImages& images = BenchImages::of(4096);
  const uint64_t offset = images.place("lower data").value() * 4096;
  for (const bool can_punch : {false, true}) {
    for (const bool can_zero : {false, true}) {
      const auto upper = images.upper();
      upper->abilities().punch = can_punch;
      upper->abilities().zero_range = can_zero;
      const auto disk = open_disk(images.lower(), *upper);
      for (const bool may_trim : {false, true}) {
        const bool is_possible = can_zero || (may_trim && can_punch);
        INFO("punch " << can_punch << ", zero " << can_zero << ", may trim " << may_trim);
        CHECK(disk->can_zero_fast(may_trim) == is_possible);
        upper->reset_counts();
        const std::vector<std::byte> before = read_range(*disk, offset, 8192);
        const Result<void> result = disk->zero(offset + 100, 8000, {may_trim, true});
        CHECK(result.has_value() == is_possible);
        if (!is_possible) {
          CHECK(result.error().error_number == ENOTSUP);
          CHECK(read_range(*disk, offset, 8192) == before);
          CHECK(upper->count(FileOperation::kWrite) == 0);
        }
        expect_success(disk->write(offset, pattern(3, 8192)));
      }
    }
  }
}

TEST_CASE("Session: a host that cannot punch takes no space for a trim", "[session]") {
  const BenchImages& images = BenchImages::of(4096);
  const uint64_t offset = images.place("lower data").value() * 4096;
  for (const bool can_zero : {false, true}) {
    const auto upper = images.upper();
    upper->abilities().punch = false;
    upper->abilities().zero_range = can_zero;
    const auto disk = open_disk(images.lower(), *upper);
    // The first touch of a page of the bitmaps takes the page's space.
    expect_success(disk->write(offset + 4096, pattern(1, 4096)));
    const uint64_t before = upper->allocated_bytes();
    expect_success(disk->trim(offset, 8192));
    CHECK(read_range(*disk, offset, 8192) == std::vector<std::byte>(8192));
    CHECK(upper->allocated_bytes() == before);
    // Nor is any given back, so that what is written next has its own.
    expect_success(disk->write(offset, pattern(2, 8192)));
    CHECK(read_range(*disk, offset, 8192) == pattern(2, 8192));
  }
}

TEST_CASE("Session: works on a host that can do nothing but write", "[session]") {
  const BenchImages& images = BenchImages::of(1024);
  const auto upper = images.upper();
  upper->abilities() = {false, false, false, false};
  const auto disk = open_disk(images.lower(), *upper);
  std::vector<std::byte> model = images.merged();
  std::mt19937_64 random(8);
  for (int i = 0; i < 100; ++i) {
    const uint64_t length = 1 + random() % 9000;
    const uint64_t offset = random() % (model.size() - length);
    const auto at = model.begin() + static_cast<ptrdiff_t>(offset);
    if (random() % 2 == 0) {
      const auto bytes = pattern(random(), length);
      expect_success(disk->write(offset, bytes));
      std::copy(bytes.begin(), bytes.end(), at);
    } else {
      expect_success(disk->zero(offset, length, {random() % 2 == 0, false}));
      std::fill_n(at, length, std::byte{0});
    }
    expect_success(disk->trim(offset, length));
    const uint64_t trimmed_begin = round_up(offset, 1024);
    const uint64_t trimmed_end = (offset + length) / 1024 * 1024;
    if (trimmed_begin < trimmed_end) {
      std::fill(model.begin() + static_cast<ptrdiff_t>(trimmed_begin),
                model.begin() + static_cast<ptrdiff_t>(trimmed_end), std::byte{0});
    }
  }
  CHECK(read_all(*disk) == model);
  CHECK_FALSE(upper->has_store_without_space());
}
