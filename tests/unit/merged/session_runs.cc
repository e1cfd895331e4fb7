// SPDX-License-Identifier: BSD-3-Clause
//
// The table of a row of frozen sessions: it gives what asking them one by one gives.
#include <catch2/catch.hpp>

#include <chrono>
#include <random>

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
