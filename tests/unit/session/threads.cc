// SPDX-License-Identifier: BSD-3-Clause
//
// Many threads on one disk, each with sectors of its own in blocks that all
// share.  Meant for the thread sanitizer too.
#include <algorithm>
#include <random>
#include <thread>

#include "tests/unit/session/session_bench.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint64_t kSector = 512;
constexpr uint64_t kThreads = 6;

void run_threads(const std::function<void(uint64_t)>& body) {
  std::vector<std::thread> threads;
  for (uint64_t number = 0; number < kThreads; ++number) {
    threads.emplace_back(body, number);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// The stretches all threads work in: every kind of block, and its neighbours.
std::vector<BlockRange> shared_blocks(const BenchImages& images, uint64_t image_blocks) {
  std::vector<BlockRange> ranges;
  for (const NamedPlace& place : images.places()) {
    const uint64_t begin = place.block.value() > 3 ? place.block.value() - 3 : 0;
    ranges.push_back(
        {BlockNumber(begin), BlockNumber(std::min(place.block.value() + 5, image_blocks))});
  }
  return ranges;
}

// One thread's part: what its sectors and its own blocks hold.
class Worker {
 public:
  Worker(Disk& disk, const BenchImages& images, uint64_t number)
      : disk_(disk), random_(number + 1), block_size_(disk.view().block_size_bytes()) {
    const Geometry& geometry = disk.geometry();
    for (const BlockRange& range : shared_blocks(images, geometry.merged().block_count)) {
      for (uint64_t sector = range.begin.value() * block_size_ / kSector;
           sector < range.end.value() * block_size_ / kSector; ++sector) {
        if (sector % kThreads == number) {
          add(images.merged(), sector * kSector, kSector, false);
        }
      }
    }
    // Blocks of its own, to trim whole; they share host blocks with those of
    // the others.  Far from the shared ones: in the last appended group.
    const BlockRange last =
        geometry.merged().blocks_of(GroupNumber(geometry.merged().group_count() - 1));
    for (uint64_t i = 0; i < 8; ++i) {
      const BlockNumber block = last.begin + 100 + i * kThreads + number;
      add(images.merged(), block.value() * block_size_, block_size_, true);
    }
  }

  void run(int requests) {
    for (int i = 0; i < requests; ++i) {
      Piece& piece = pieces_[random_() % pieces_.size()];
      if (random_() % 40 == 0) {
        is_good_ = is_good_ && disk_.flush();
      } else if (random_() % 3 == 0) {
        check(piece);
      } else {
        change(piece);
      }
    }
  }

  // What of its own is not as it should be.
  uint64_t wrong_pieces(const Disk& disk) {
    uint64_t wrong = 0;
    for (const Piece& piece : pieces_) {
      std::vector<std::byte> found(piece.bytes.size());
      wrong += disk.read(piece.offset, found) && found == piece.bytes ? 0 : 1;
    }
    return wrong;
  }
  bool is_good() const { return is_good_; }

 private:
  struct Piece {
    uint64_t offset = 0;
    std::vector<std::byte> bytes;
    bool is_block = false;
    bool is_touched = false;
  };

  void add(const std::vector<std::byte>& merged, uint64_t offset, uint64_t length, bool is_block) {
    const auto at = merged.begin() + static_cast<ptrdiff_t>(offset);
    const auto known = std::find_if(pieces_.begin(), pieces_.end(), [offset](const Piece& piece) {
      return piece.offset == offset;
    });
    if (known == pieces_.end()) {
      pieces_.push_back({offset, {at, at + static_cast<ptrdiff_t>(length)}, is_block, false});
    }
  }

  void check(const Piece& piece) {
    // Others' sectors around it are read along, and change meanwhile.
    std::vector<std::byte> buffer(piece.bytes.size() + 2 * kSector);
    const uint64_t begin = piece.offset >= kSector ? piece.offset - kSector : 0;
    const uint64_t length =
        std::min<uint64_t>(buffer.size(), disk_.geometry().size_bytes() - begin);
    is_good_ = is_good_ && disk_.read(begin, ByteSpan(buffer).first(length)) &&
               std::equal(piece.bytes.begin(), piece.bytes.end(),
                          buffer.begin() + static_cast<ptrdiff_t>(piece.offset - begin));
  }

  void change(Piece& piece) {
    const uint64_t from = random_() % piece.bytes.size();
    const uint64_t length = random_() % 2 == 0 ? piece.bytes.size() - from
                                               : 1 + random_() % (piece.bytes.size() - from);
    const uint64_t kind = random_() % 6;
    if (kind == 0 && piece.is_block) {
      is_good_ = is_good_ && disk_.trim(piece.offset, piece.bytes.size());
      if (piece.is_touched) {
        std::fill(piece.bytes.begin(), piece.bytes.end(), std::byte{0});
      }
      return;
    }
    const auto at = piece.bytes.begin() + static_cast<ptrdiff_t>(from);
    if (kind < 3) {
      is_good_ = is_good_ && disk_.zero(piece.offset + from, length, {kind == 1, false});
      std::fill_n(at, length, std::byte{0});
    } else {
      const std::vector<std::byte> bytes = pattern(random_(), length);
      is_good_ = is_good_ && disk_.write(piece.offset + from, bytes);
      std::copy(bytes.begin(), bytes.end(), at);
    }
    piece.is_touched = true;
  }

  Disk& disk_;
  std::mt19937_64 random_;
  uint64_t block_size_;
  std::vector<Piece> pieces_;
  bool is_good_ = true;
};

}  // namespace

TEST_CASE("Threads: disjoint sectors of shared blocks", "[threads]") {
  for (const uint32_t block_size : {1024U, 4096U}) {
    for (const bool cached : {true, false}) {
      const BenchImages& images = BenchImages::of(block_size);
      const auto upper = images.upper();
      upper->abilities().cached_reads = cached;
      const auto disk = open_disk(images.lower(), *upper);
      std::vector<std::unique_ptr<Worker>> workers;
      for (uint64_t number = 0; number < kThreads; ++number) {
        workers.push_back(std::make_unique<Worker>(*disk, images, number));
      }
      run_threads([&workers](uint64_t number) { workers[number]->run(4000); });
      expect_success(disk->flush());
      const auto left = upper->clone();
      const auto next = open_disk(images.lower(), *left, kNextBootId);
      for (const auto& worker : workers) {
        CHECK(worker->is_good());
        CHECK(worker->wrong_pieces(*disk) == 0);
        CHECK(worker->wrong_pieces(*next) == 0);
      }
      CHECK(read_all(*disk) == read_all(*next));
      CHECK_FALSE(upper->has_store_without_space());
    }
  }
}

TEST_CASE("Threads: the first client comes many times at once", "[threads]") {
  const BenchImages& images = BenchImages::of(1024);
  for (int round = 0; round < 20; ++round) {
    const auto upper = images.upper();
    const auto disk = load_disk(images.lower(), *upper);
    std::atomic<uint64_t> good{0};
    run_threads([&](uint64_t number) {
      std::vector<std::byte> bytes(5000);
      good += disk->attach(number % 2 == 0 ? Access::kReadOnly : Access::kReadWrite) &&
                      disk->read(number * 100000, bytes)
                  ? 1
                  : 0;
    });
    CHECK(good == kThreads);
  }
}

// ---- a power loss among many ------------------------------------------------------------

namespace {

// A thread writes stamps into its sectors and flushes now and then.  What was
// flushed must be there after the power loss, or something newer.
class Stamper {
 public:
  Stamper(Disk& disk, std::vector<uint64_t> offsets, uint64_t seed)
      : disk_(disk), offsets_(std::move(offsets)), random_(seed), values_(offsets_.size()) {
    for (auto& values : values_) {
      values.push_back(0);
    }
  }

  void run() {
    for (uint64_t stamp = 1; stamp < 400; ++stamp) {
      if (random_() % 6 == 0) {
        if (!disk_.flush()) {
          return;
        }
        for (auto& values : values_) {
          values.erase(values.begin(), values.end() - 1);
        }
        continue;
      }
      const size_t which = random_() % offsets_.size();
      values_[which].push_back(stamp);
      if (!disk_.write(offsets_[which], sector_of(which, stamp))) {
        return;  // in flight: old or new
      }
    }
  }

  uint64_t wrong_sectors(const Disk& disk, const std::vector<std::byte>& original) const {
    uint64_t wrong = 0;
    for (size_t which = 0; which < offsets_.size(); ++which) {
      const std::vector<std::byte> found = read_range(disk, offsets_[which], kSector);
      const auto is_found = [&](uint64_t stamp) {
        const auto at = original.begin() + static_cast<ptrdiff_t>(offsets_[which]);
        return stamp == 0 ? std::equal(found.begin(), found.end(), at)
                          : found == sector_of(which, stamp);
      };
      wrong += std::any_of(values_[which].begin(), values_[which].end(), is_found) ? 0 : 1;
    }
    return wrong;
  }

 private:
  std::vector<std::byte> sector_of(size_t which, uint64_t stamp) const {
    return pattern(offsets_[which] * 1000 + stamp, kSector);
  }

  Disk& disk_;
  std::vector<uint64_t> offsets_;
  std::mt19937_64 random_;
  std::vector<std::vector<uint64_t>> values_;  // stamps since the last flush
};

}  // namespace

TEST_CASE("Threads: what one of them flushed survives a power loss", "[threads]") {
  const uint64_t seed = test_seed("threads and power");
  const BenchImages& images = BenchImages::of(1024);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 40; ++round) {
    PowerLossFile file(images.upper());
    std::vector<std::unique_ptr<Stamper>> stampers;
    {
      const auto disk = open_disk(images.lower(), file);
      for (uint64_t number = 0; number < kThreads; ++number) {
        std::vector<uint64_t> offsets;
        // Few blocks, so that threads meet at their first touches.
        for (const char* place : {"lower data", "zeros", "own", "superblock"}) {
          const uint64_t begin = images.place(place).value() * 1024;
          for (uint64_t sector = number; sector < 12; sector += kThreads) {
            offsets.push_back(begin + sector * kSector);
          }
        }
        stampers.push_back(std::make_unique<Stamper>(*disk, std::move(offsets), random()));
      }
      file.crash_after(20 + random() % 300);
      run_threads([&stampers](uint64_t number) { stampers[number]->run(); });
    }
    RandomChooser chooser(random);
    const auto left = file.lose_power(chooser);
    const auto next = load_disk(images.lower(), *left, kNextBootId);
    expect_success(next->attach(Access::kReadOnly));
    uint64_t wrong = 0;
    for (const auto& stamper : stampers) {
      wrong += stamper->wrong_sectors(*next, images.merged());
    }
    INFO("round " << round);
    REQUIRE(wrong == 0);
  }
}
