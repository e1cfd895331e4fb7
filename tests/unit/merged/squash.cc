// SPDX-License-Identifier: BSD-3-Clause
//
// One layer of several: it shows what the chain shows, and it is a layer like any other.
#include <catch2/catch.hpp>

#include <algorithm>
#include <random>

#include "overlay/check/upper_check.h"
#include "overlay/stack/new_parent.h"
#include "overlay/stack/seal.h"
#include "overlay/stack/squash.h"
#include "overlay/upper/parent.h"
#include "overlay/upper/upper_state.h"
#include "tests/unit/merged/chain_bench.h"
#include "tests/unit/support/image_facts.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const std::atomic<bool> squash_goes_on{false};

SquashOptions quiet_squash() {
  return {.log = quiet_log()};
}

// A squashed layer and its file.
struct Squashed {
  std::unique_ptr<MemoryFile> file;
  std::unique_ptr<LayerOverLower> layer;
  std::unique_ptr<LayerBelow> below;  // for levels over it
  SquashFigures figures;
};

void load(Squashed& squashed, const Below& below) {
  squashed.layer = value_of(LayerOverLower::load(below, *squashed.file, {}));
  squashed.below = value_of(LayerBelow::open(*squashed.layer));
}

Squashed squash(const LayerOverLower& lowest, const LayerOverLower& top) {
  Squashed squashed;
  squashed.file = std::make_unique<MemoryFile>("squashed.img");
  squashed.figures =
      value_of(squash_layers(lowest, top, *squashed.file, quiet_squash(), squash_goes_on));
  const Below& below = lowest.below();
  const CheckReport report =
      value_of(check_upper(below, *squashed.file, CheckPurpose::kLook, quiet_log()));
  for (const Violation& violation : report.found) {
    FAIL_CHECK(violation.message);
  }
  (void)value_of(seal_upper(below, *squashed.file, quiet_log(), squash_goes_on));
  load(squashed, below);
  return squashed;
}

// The layer of a sealed file as one of another level, which shows what its own one shows.
Squashed moved(const MemoryFile& sealed, const Below& below) {
  Squashed squashed;
  squashed.file = sealed.clone();
  expect_success(unseal(*squashed.file));
  StateArea area = value_of(read_upper_state(*squashed.file)).area;
  set_parent(area, below.identity());
  expect_success(write_state_header(*squashed.file, area));
  (void)value_of(seal_upper(below, *squashed.file, quiet_log(), squash_goes_on));
  load(squashed, below);
  return squashed;
}

void check_shows_the_same(const LayerOverLower& chain, const LayerOverLower& squashed) {
  const std::vector<std::byte> found = bytes_of(squashed.view());
  CHECK(difference(facts_of(bytes_of(chain.view())), facts_of(found)).empty());
  const ScratchDirectory scratch;
  save(found, scratch.path() / "merged.img");
  std::filesystem::resize_file(scratch.path() / "merged.img", found.size());
  run({"e2fsck", "-fn", (scratch.path() / "merged.img").string()});
}

}  // namespace

TEST_CASE("Squash: one layer shows what random levels show", "[squash]") {
  const uint32_t seed = GENERATE(1U, 2U, 3U);
  const uint32_t block_size = seed % 2 == 1 ? 1024 : 4096;
  INFO("seed " << seed);
  Levels levels(block_size);
  RandomRequests requests(seed + 100);
  std::mt19937 random(seed);
  for (int level = 0; level < 5; ++level) {
    if (random() % 3 == 0) {
      levels.grow_by((1 + random() % 5) * 700 * 1024);
    }
    levels.add(requests.next(12));
  }
  const LayerOverLower& top = levels.layer(4);
  for (const size_t kept : {0, 1, 3}) {
    INFO("over " << kept);
    const Squashed all = squash(levels.layer(kept), top);
    CHECK(all.layer->geometry().merged() == top.geometry().merged());
    check_shows_the_same(top, *all.layer);
    CHECK(all.figures.proven_blocks > 0);
  }
}

TEST_CASE("Squash: the order of squashing does not matter", "[squash]") {
  const uint32_t block_size = GENERATE(1024U, 4096U);
  Levels levels(block_size);
  RandomRequests requests(block_size);
  for (int level = 0; level < 3; ++level) {
    levels.add(requests.next(16));
  }
  const Squashed lower_two = squash(levels.layer(0), levels.layer(1));
  const Squashed third = moved(levels.file(2), *lower_two.below);
  const Squashed left = squash(*lower_two.layer, *third.layer);
  const Squashed upper_two = squash(levels.layer(1), levels.layer(2));
  const Squashed right = squash(levels.layer(0), *upper_two.layer);

  check_shows_the_same(levels.layer(2), *left.layer);
  check_shows_the_same(levels.layer(2), *right.layer);
  check_shows_the_same(*left.layer, *right.layer);
}

TEST_CASE("Squash: nothing is left where the host fails", "[squash]") {
  Levels levels(1024);
  levels.add({"write @/large /one"});
  levels.add({"write @/larger /two"});
  MemoryFile full("full.img");
  full.set_free_pages(levels.file(0).allocated_bytes() / MemoryFile::kPageBytes + 4);
  expect_error(
      squash_layers(levels.layer(0), levels.layer(1), full, quiet_squash(), squash_goes_on),
      {"full.img"});
  const std::atomic<bool> is_cancelled{true};
  MemoryFile stopped("stopped.img");
  const auto result =
      squash_layers(levels.layer(0), levels.layer(1), stopped, quiet_squash(), is_cancelled);
  REQUIRE_FALSE(result);
  CHECK(result.error().error_number == ECANCELED);
}

TEST_CASE("Squash: the work is told from its start to its end", "[squash]") {
  Levels levels(1024);
  levels.add({"write @/large /one"});
  levels.add({"write @/larger /two"});
  std::vector<uint64_t> told;
  uint64_t last_total = 0;
  MemoryFile output("output.img");
  const SquashOptions options{.log = quiet_log(), .progress = [&](uint64_t done, uint64_t total) {
                                told.push_back(done);
                                last_total = total;
                              }};
  (void)value_of(squash_layers(levels.layer(0), levels.layer(1), output, options, squash_goes_on));
  CHECK(std::is_sorted(told.begin(), told.end()));
  CHECK(told.size() > 3);
  CHECK(told.back() == last_total);
}

namespace {

// The upper over the topmost of these levels, whose sealed file it was.
std::unique_ptr<MemoryFile> upper_of(Levels& levels) {
  auto upper = levels.file(levels.count() - 1).clone();
  expect_success(unseal(*upper));
  return upper;
}

ParentChange change_to(const Levels& levels, const Squashed& squashed) {
  ParentChange change{levels.layer(levels.count() - 1).below(), *squashed.below, {}};
  change.layers.push_back(squashed.layer.get());
  for (size_t i = 0; i + 1 < levels.count(); ++i) {
    change.layers.push_back(&levels.layer(i));
  }
  return change;
}

void add_random(Levels& levels, uint32_t seed, int count) {
  RandomRequests requests(seed);
  for (int level = 0; level < count; ++level) {
    levels.add(requests.next(12));
  }
}

}  // namespace

TEST_CASE("Squash: an upper is moved onto the one layer", "[squash]") {
  Levels levels(1024);
  add_random(levels, 21, 4);
  const Squashed one = squash(levels.layer(0), levels.layer(2));
  const auto upper = upper_of(levels);
  const ParentChange change = change_to(levels, one);
  const StateArea area = value_of(prove_new_parent(change, *upper, quiet_log(), squash_goes_on));
  // At each power loss it stands on the one or the other.
  uint64_t outcomes = 0;
  bool is_over = false;
  bool was_old = false;
  for (uint64_t crash = 1; !is_over; ++crash) {
    PowerLossFile file(upper->clone());
    file.crash_after(crash);
    is_over = write_new_parent(file, area).has_value();
    EveryChooser chooser;
    do {
      const auto left = file.lose_power(chooser);
      const auto old_layer = LayerOverLower::load(change.old_below, *left, {});
      const auto new_layer = LayerOverLower::load(change.new_below, *left, {});
      REQUIRE(old_layer.has_value() != new_layer.has_value());
      if (is_over) {
        REQUIRE(new_layer.has_value());
      }
      was_old = was_old || old_layer.has_value();
      const LayerOverLower& found = old_layer ? **old_layer : **new_layer;
      CHECK(difference(facts_of(levels.shown()), facts_of(bytes_of(found.view()))).empty());
      REQUIRE(++outcomes < 200);
    } while (chooser.next());
  }
  CHECK(was_old);
  CHECK(outcomes > 4);
}

TEST_CASE("Squash: an upper is moved onto nothing else", "[squash]") {
  Levels levels(1024);
  add_random(levels, 22, 4);
  const auto upper = upper_of(levels);
  // Not what it stands on.
  const Squashed two = squash(levels.layer(0), levels.layer(1));
  const auto other = prove_new_parent(change_to(levels, two), *upper, quiet_log(), squash_goes_on);
  REQUIRE_FALSE(other);
  CHECK((other.error().kind == ErrorKind::kCorrupt || other.error().kind == ErrorKind::kInvalid));
  const Squashed one = squash(levels.layer(0), levels.layer(2));
  expect_error(
      prove_new_parent(change_to(levels, one), levels.file(3), quiet_log(), squash_goes_on),
      {"level4.img", "is a sealed layer"});
  {
    const auto disk = value_of(Disk::load(levels.layer(3).below(), *upper, kBootId, quiet_log()));
    expect_success(disk->attach(Access::kReadWrite));
    expect_success(disk->write(4096, pattern(1, 700)));
    expect_success(disk->close());
  }
  expect_error(prove_new_parent(change_to(levels, one), *upper, quiet_log(), squash_goes_on),
               {"has an open session"});
}
