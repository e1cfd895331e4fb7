// SPDX-License-Identifier: BSD-3-Clause
//
// The table of a row of frozen sessions: it gives what asking them one by one gives.
#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "overlay/merged/session_runs.h"
#include "overlay/stack/chain.h"
#include "tests/unit/service/snapshot_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// A disk with a row of snapshots, each of which has written a few pieces.
class FrozenRow {
 public:
  FrozenRow(int snapshots, uint64_t most_bytes) : overlay_(bench_.serve()), random_(snapshots) {
    for (int number = 0; number < snapshots; ++number) {
      write(most_bytes);
      bench_.names.push_back(fmt::format("level-{:03}", number));
      (void)value_of(overlay_->snapshot(bench_.names.back()));
    }
    write(most_bytes);
  }

  Disk& disk() { return overlay_->disk(); }
  const Chain& served_chain() const { return overlay_->chain(); }
  std::unique_ptr<Chain> chain() const {
    return value_of(
        Chain::open(bench_.levels_up_to(bench_.names.back()), FileLock::kShared, quiet_log()));
  }

 private:
  void write(uint64_t most_bytes) {
    for (int i = 0; i < 12; ++i) {
      const uint64_t length = 1 + random_() % most_bytes;
      const uint64_t offset = random_() % (disk().view().size_bytes() - length);
      if (random_() % 5 == 0) {
        expect_success(disk().zero(offset, length, {.may_trim = random_() % 2 == 0}));
      } else {
        expect_success(disk().write(offset, pattern(random_(), length)));
      }
    }
  }

  SnapshotBench bench_;
  std::unique_ptr<Overlay> overlay_;
  std::mt19937_64 random_;
};

BlockNumber end_of(const MergedView& view) {
  return BlockNumber(view.size_bytes() / view.block_size_bytes());
}

// Where a block lies, level by level: as it was before there was a table.
BlockSource one_by_one(const MergedView& top, BlockNumber begin, BlockNumber end) {
  for (const MergedView* view = &top;; view = view->parent()) {
    const SessionBitmap::BitRun run = view->written_at(begin, end);
    end = run.end;
    if (run.is_set) {
      return view->written_source(begin, end);
    }
    if (view->parent() == nullptr) {
      return view->unwritten_source(begin, end);
    }
  }
}

bool is_same(const BlockSource& one, const BlockSource& other) {
  return one.source == other.source && one.file == other.file && one.offset == other.offset &&
         one.synthesis == other.synthesis && one.fixed == other.fixed &&
         one.translated == other.translated;
}

double nanoseconds_for_each(const std::vector<uint64_t>& blocks,
                            const std::function<BlockSource(BlockNumber)>& find) {
  const auto begin = std::chrono::steady_clock::now();
  uint64_t sum = 0;
  for (const uint64_t block : blocks) {
    sum += find(BlockNumber(block)).offset;
  }
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
  CHECK(sum != 0);
  return taken.count() / static_cast<double>(blocks.size());
}

}  // namespace

TEST_CASE("Session runs: each block comes from where it came one by one", "[session_runs]") {
  const FrozenRow row(12, 40'000);
  const auto chain = row.chain();
  const MergedView& top = *chain->frozen_view();
  REQUIRE(top.session_runs() != nullptr);
  const SessionRuns& runs = *top.session_runs();
  const BlockNumber end = end_of(top);
  for (BlockNumber block(0); block < end; ++block) {
    const BlockSource wanted = one_by_one(top, block, block + 1);
    const BlockSource found = runs.source_at(block, block + 1);
    if (!is_same(wanted, found) || found.end != block + 1) {
      FAIL("block " << block.value());
    }
  }
  // In stretches: nothing is left out, and the bytes are the same.
  std::mt19937_64 random(3);
  for (int i = 0; i < 500; ++i) {
    const BlockNumber begin(random() % end.value());
    const BlockNumber until(begin.value() + 1 + random() % (end.value() - begin.value()));
    const BlockSource found = runs.source_at(begin, until);
    REQUIRE((found.end > begin));
    REQUIRE((found.end <= until));
    for (BlockNumber block = begin; block < found.end; ++block) {
      BlockSource wanted = one_by_one(top, block, block + 1);
      wanted.offset -= wanted.file != nullptr ? (block - begin) * kSnapshotBlock : 0;
      REQUIRE(is_same(wanted, found));
    }
  }
  std::vector<std::byte> bytes(top.size_bytes());
  expect_success(top.read(0, bytes));
  MergedView over(*chain->layers().back(), nullptr, &top);  // as an upper that wrote nothing
  std::vector<std::byte> through(bytes.size());
  expect_success(over.read(0, through));
  CHECK((through == bytes));
  CHECK(runs.memory_bytes() > 0);
}

// Only what never changes again is in a table, and only the topmost table is kept.
TEST_CASE("Session runs: a level that is written is in no table", "[session_runs]") {
  SnapshotBench bench;
  OverlayOptions options = bench.options();
  std::unique_ptr<Overlay> overlay;
  std::vector<bool> has_table;
  options.at_snapshot_step = [&](SnapshotStep) {
    has_table.push_back(overlay->chain().frozen_view()->session_runs() != nullptr);
  };
  overlay = SnapshotBench::serve(std::move(options));
  for (int number = 0; number < 4; ++number) {
    const std::vector<std::byte> bytes = pattern(number, 50'000);
    expect_success(overlay->disk().write(uint64_t(number) * 30'000, bytes));
    (void)value_of(overlay->snapshot(fmt::format("level-{}", number)));
    CHECK((overlay->chain().frozen_view()->session_runs() != nullptr) == (number > 0));
    const MergedView* below = overlay->chain().frozen_view()->parent();
    CHECK((below == nullptr || below->session_runs() == nullptr));
  }
  CHECK(has_table == std::vector<bool>(has_table.size(), false));
  std::vector<std::byte> found(50'000);
  expect_success(overlay->disk().read(90'000, found));
  CHECK((found == pattern(3, 50'000)));
}

// What the table of the row had is taken over, and what it had not is found in all sessions.
TEST_CASE("Session runs: a table made over another one is the same", "[session_runs]") {
  const FrozenRow row(5, 40'000);
  const auto chain = row.chain();
  const MergedView& top = *chain->frozen_view();
  const LayerOverLower& layer = *chain->layers().back();
  const BlockNumber end = end_of(top);
  const uint64_t size = bitmap_size_bytes(layer.geometry());
  MemoryFile memory("bits.img");
  expect_success(memory.resize(2 * size));
  const auto bits =
      value_of(SessionBitmap::open_for_writing(memory, {0, size}, {size, size}, false));
  for (uint64_t begin = 3; begin + 60 < end.value(); begin += 97) {
    const BlockNumber first(begin);
    expect_success(bits->reserve(first, first + begin % 50 + 1));
    expect_success(bits->set(first, first + begin % 50 + 1));
  }
  const bool is_known = GENERATE(false, true);
  if (is_known) {
    (void)top.session_runs()->source_at(BlockNumber(0), BlockNumber(1));
  }
  MergedView next(layer, bits.get(), &top);
  next.flatten();
  const SessionRuns* table = next.session_runs();
  CHECK((table->memory_bytes() > sizeof(void*)) == is_known);
  next.flatten();
  CHECK(next.session_runs() == table);
  for (BlockNumber block(0); block < end; ++block) {
    const BlockSource found = table->source_at(block, block + 1);
    REQUIRE(is_same(one_by_one(next, block, block + 1), found));
  }
  CHECK(next.forget_runs() != nullptr);
  CHECK(next.session_runs() == nullptr);
  CHECK(next.forget_runs() == nullptr);
}

// For docs/stacks.md: unit-snapshot '[session_runs_figures]'.
TEST_CASE("Session runs: what a look-up costs", "[.session_runs_figures]") {
  for (const int snapshots : {2, 10, 100}) {
    const FrozenRow row(snapshots, 20'000);
    const auto chain = row.chain();
    const MergedView& top = *chain->frozen_view();
    const BlockNumber end = end_of(top);
    std::mt19937_64 random(1);
    std::vector<uint64_t> blocks(200'000);
    for (uint64_t& block : blocks) {
      block = random() % end.value();
    }
    const auto by_table = [&](BlockNumber block) {
      return top.session_runs()->source_at(block, block + 1);
    };
    (void)nanoseconds_for_each(blocks, by_table);
    const double table = nanoseconds_for_each(blocks, by_table);
    const double each = nanoseconds_for_each(
        blocks, [&](BlockNumber block) { return one_by_one(top, block, block + 1); });
    WARN(snapshots << " snapshots: one by one " << each << " ns, by the table " << table
                   << " ns, which takes " << top.session_runs()->memory_bytes() << " bytes for "
                   << top.size_bytes());
    CHECK(table > 0);
  }
}

namespace {

double milliseconds_of(const std::function<void()>& action) {
  const auto begin = std::chrono::steady_clock::now();
  action();
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
  return taken.count();
}

// Asks once for each stretch.
void look_at_all_stretches(const MergedView& top) {
  constexpr uint64_t kStretch = 32768;
  for (BlockNumber block(0); block < end_of(top); block += kStretch) {
    (void)top.session_runs()->source_at(block, block + 1);
  }
}

}  // namespace

// For docs/stacks.md: what one more snapshot of a long row costs, by the sessions' size.
TEST_CASE("Session runs: what a table costs", "[.session_runs_figures]") {
  for (const auto& [snapshots, writes] : {std::pair(2, 20'000), {20, 20'000}, {100, 2'000}}) {
    SnapshotBench bench;
    OverlayOptions options = bench.options();
    options.size_bytes = uint64_t{16} << 30;
    const auto overlay = SnapshotBench::serve(std::move(options));
    std::mt19937_64 random(1);
    const auto write_all = [&, count = writes] {
      for (int i = 0; i < count; ++i) {
        const uint64_t block = random() % (overlay->size_bytes() / kSnapshotBlock);
        expect_success(overlay->disk().write(block * kSnapshotBlock, pattern(i, kSnapshotBlock)));
      }
    };
    double longest_read = 0;
    for (int number = 0; number < snapshots; ++number) {
      write_all();
      if (number > 1) {
        look_at_all_stretches(*overlay->chain().frozen_view());
      }
      // A client that reads all the time.
      std::atomic<bool> has_to_stop{false};
      std::thread reader([&] {
        std::vector<std::byte> block(kSnapshotBlock);
        while (!has_to_stop.load()) {
          longest_read = std::max(longest_read, milliseconds_of([&] {
                                    expect_success(overlay->requests().read(0, block));
                                  }));
        }
      });
      (void)value_of(overlay->snapshot(fmt::format("level-{:03}", number)));
      has_to_stop.store(true);
      reader.join();
    }
    write_all();
    const MergedView& top = *overlay->chain().frozen_view();
    bench.names.clear();
    for (int number = 0; number < snapshots; ++number) {
      bench.names.push_back(fmt::format("level-{:03}", number));
    }
    const auto chain = value_of(
        Chain::open(bench.levels_up_to(bench.names.back()), FileLock::kShared, quiet_log()));
    const double asked = milliseconds_of([&] { look_at_all_stretches(*chain->frozen_view()); });
    const auto bitmap = value_of(SessionBitmap::open_for_reading(
        overlay->chain().layers().back()->upper_file(), overlay->disk().state_area().live_bitmap));
    MergedView next(*overlay->chain().layers().back(), bitmap.get(), &top);
    const double made = milliseconds_of([&] { next.flatten(); });
    const double after = milliseconds_of([&] { look_at_all_stretches(next); });
    const uint64_t memory = next.session_runs()->memory_bytes();
    auto useless = next.forget_runs();
    const double forgotten = milliseconds_of([&] { useless.reset(); });
    WARN(snapshots << " snapshots of " << writes << " blocks: a look at all stretches takes "
                   << asked << " ms; the next table is made in " << made
                   << " ms, and a look in it takes " << after << " ms; it has " << memory
                   << " bytes and is given back in " << forgotten
                   << " ms; the longest read meanwhile took " << longest_read << " ms");
    CHECK(memory > 0);
    expect_success(overlay->close());
  }
}
