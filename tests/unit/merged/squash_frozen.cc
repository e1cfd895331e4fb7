// SPDX-License-Identifier: BSD-3-Clause
//
// Rows of snapshots as one layer: clean ones, and such that were taken under a client.
#include <catch2/catch.hpp>

#include <fmt/format.h>
#include <fstream>

#include "overlay/check/upper_check.h"
#include "overlay/stack/chain.h"
#include "overlay/stack/mended_image.h"
#include "overlay/stack/squash.h"
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/merged/chain_bench.h"
#include "tests/unit/service/snapshot_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const std::atomic<bool> frozen_goes_on{false};

// The bytes after these requests of debugfs, with whatever that leaves.
std::vector<std::byte> damaged_by_debugfs(const std::vector<std::byte>& bytes,
                                          const std::vector<std::string>& requests) {
  const ScratchDirectory scratch;
  const std::filesystem::path path = scratch.path() / "merged.img";
  save(bytes, path);
  std::filesystem::resize_file(path, bytes.size());
  std::string input;
  for (const std::string& request : requests) {
    input += request + "\n";
  }
  run({"debugfs", "-w", "-f", "-", path.string()}, input);
  std::vector<std::byte> changed(bytes.size());
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(changed.data()),
              static_cast<std::streamsize>(changed.size()));
  REQUIRE(stream);
  return changed;
}

void check_by_e2fsck(const std::vector<std::byte>& bytes) {
  const ScratchDirectory scratch;
  save(bytes, scratch.path() / "merged.img");
  std::filesystem::resize_file(scratch.path() / "merged.img", bytes.size());
  run({"e2fsck", "-fn", (scratch.path() / "merged.img").string()});
}

// A disk of which snapshots are taken.
class Row {
 public:
  Row() : overlay_(bench_.serve()) {}

  Disk& disk() { return overlay_->disk(); }
  std::vector<std::byte> shown() const { return read_all(overlay_->disk()); }
  // As a number: its i_links_count.
  uint32_t root_links() const {
    const auto image = value_of(MergedImage::open("merged image", overlay_->disk().view()));
    return value_of(read_inode(image->volume(), kRootDirectory)).raw().i_links_count;
  }
  void apply(const std::vector<std::string>& requests) {
    write_differences(overlay_->disk(), changed_by_debugfs(overlay_->disk(), requests));
  }
  void leave(const std::vector<std::string>& requests) {
    write_differences(overlay_->disk(), damaged_by_debugfs(shown(), requests));
  }
  void freeze(const std::string& name) {
    (void)value_of(overlay_->snapshot(name));
    bench_.names.push_back(name);
  }
  void checkpoint() {
    REQUIRE(overlay_->checkpoint(AskedBy::kPerson).has_value());
    expect_success(overlay_->open(Access::kReadWrite));
  }
  // Levels that are no part of the chain any more.
  void forget(const std::string& name) { std::erase(bench_.names, name); }
  std::unique_ptr<Chain> chain() const {
    return value_of(
        Chain::open(bench_.levels_up_to(bench_.names.back()), FileLock::kShared, quiet_log()));
  }

 private:
  SnapshotBench bench_;
  std::unique_ptr<Overlay> overlay_;
};

size_t top_layer(const Chain& chain) {
  size_t top = chain.layers().size() - 1;
  while (chain.layers()[top]->area().is_void()) {
    --top;
  }
  return top;
}

// What one layer of the levels from `kept` on shows; it is an upper that keeps all rules.
std::vector<std::byte> squashed(const Chain& chain, size_t kept,
                                const MendedImage* mended = nullptr) {
  const LayerOverLower& lowest = *chain.layers()[kept];
  const SquashSource source{lowest, *chain.layers()[top_layer(chain)], *chain.frozen_view(),
                            mended != nullptr ? &mended->file() : nullptr,
                            mended != nullptr ? &mended->changed() : nullptr};
  MemoryFile output("squashed.img");
  const SquashFigures figures =
      value_of(squash_levels(source, output, {.log = quiet_log()}, frozen_goes_on));
  CHECK(figures.proven_blocks > 0);
  const CheckReport report =
      value_of(check_upper(lowest.below(), output, CheckPurpose::kLook, quiet_log()));
  for (const Violation& violation : report.found) {
    FAIL_CHECK(violation.message);
  }
  CHECK(report.not_checked.empty());  // no session is left
  const auto layer = value_of(LayerOverLower::load(lowest.below(), output, {}));
  return bytes_of(layer->view());
}

}  // namespace

TEST_CASE("Squash: a row of snapshots is one layer", "[squash]") {
  Row row;
  RandomRequests requests(11);
  SECTION("over a session alone") {}
  SECTION("over a layer with a session") {
    row.apply(requests.next(8));
    row.checkpoint();
  }
  for (int level = 0; level < 4; ++level) {
    row.apply(requests.next(8));
    row.freeze(fmt::format("level-{}", level));
  }
  const auto chain = row.chain();
  const std::vector<std::byte> wanted = bytes_of(*chain->frozen_view());
  REQUIRE((wanted == row.shown()));
  const std::vector<std::byte> found = squashed(*chain, 0);
  CHECK(difference(facts_of(wanted), facts_of(found)).empty());
  check_by_e2fsck(found);
  // A void level has no layer to begin with.
  MemoryFile none("none.img");
  const SquashSource over_session{*chain->layers()[1], *chain->layers()[0], *chain->frozen_view()};
  expect_error(squash_levels(over_session, none, {.log = quiet_log()}, frozen_goes_on),
               {"level-1", "has no layer"});
}

// The session of a level below another layer is nobody's.
TEST_CASE("Squash: frozen levels with layers over each other", "[squash]") {
  Row row;
  row.apply({"write @/large /one", "rm /small"});
  row.checkpoint();
  row.apply({"write @/larger /two", "set_inode_field /one mode 0100600"});
  row.freeze("monday");
  row.apply({"rm /two", "write @/small /three"});
  row.freeze("tuesday");
  row.apply({"rm /one", "mkdir /made"});
  row.checkpoint();
  row.forget("tuesday");
  row.apply({"write @/large /made/four"});
  row.freeze("wednesday");
  row.apply({"rm /three", "write @/large /five"});
  row.freeze("thursday");
  const auto chain = row.chain();
  REQUIRE(top_layer(*chain) == 1);
  const Facts wanted = facts_of(bytes_of(*chain->frozen_view()));
  for (const size_t kept : {0, 1}) {
    INFO("over " << kept);
    const std::vector<std::byte> found = squashed(*chain, kept);
    CHECK(difference(wanted, facts_of(found)).empty());
    check_by_e2fsck(found);
  }
}

TEST_CASE("Squash: open files without a name are dropped", "[squash]") {
  Row row;
  row.apply({"write @/large /open", "write @/small /shared",
             "ea_set /open user.a " + std::string(200, 'x'), "mkdir /gone"});
  row.freeze("monday");
  row.apply({"write @/small /kept"});
  row.leave({"set_inode_field /open links_count 0", "unlink /open",
             "set_inode_field /gone links_count 0", "unlink /gone",
             "set_inode_field / links_count " + std::to_string(row.root_links() - 1),
             "set_super_value state 0"});
  row.freeze("tuesday");
  const auto chain = row.chain();
  MemoryFile none("none.img");
  const SquashSource as_it_is{*chain->layers()[0], *chain->layers()[0], *chain->frozen_view()};
  expect_error(squash_levels(as_it_is, none, {.log = quiet_log()}, frozen_goes_on),
               {"not cleanly unmounted"});

  const auto mended = value_of(MendedImage::make("tuesday", *chain->frozen_view(), frozen_goes_on));
  CHECK(mended->dropped_inodes() == 2);
  CHECK(mended->freed_blocks() > 90000 / kSnapshotBlock);
  const std::vector<std::byte> found = squashed(*chain, 0, mended.get());
  check_by_e2fsck(found);
  // As if the two had been deleted.
  const ScratchDirectory scratch;
  save(found, scratch.path() / "found.img");
  std::filesystem::resize_file(scratch.path() / "found.img", found.size());
  const std::string names = run({"debugfs", "-R", "ls /", (scratch.path() / "found.img").string()});
  CHECK_THAT(names, Catch::Contains("kept") && Catch::Contains("shared") &&
                        !Catch::Contains("open") && !Catch::Contains("gone"));
}

TEST_CASE("Squash: nothing but that may be wrong with a frozen file system", "[squash]") {
  struct Damage {
    std::vector<std::string> requests;
    std::string message;
  };
  Row row;
  row.apply({"write @/large /file", "mkdir /directory", "write @/small /directory/inside",
             "ea_set /file user.a " + std::string(200, 'x')});
  const std::vector<std::byte> sound = row.shown();
  const std::vector<Damage> damages = {
      {{"set_inode_field /file links_count 2"}, "has 2 links, but 1 names lead to it"},
      {{"unlink /file"}, "has 1 links, but 0 names"},
      {{"freei /file"}, "which is free"},
      {{"set_inode_field /file blocks 2"}, "i_blocks is 2"},
      {{"set_inode_field /file block[0] 0"}, "i_blocks is"},
      {{"set_inode_field /file block[1] 2"}, "block"},
      {{"set_inode_field /file mode 0"}, "of no known type"},
      {{"set_super_value free_blocks_count 7"}, "superblock: 7 free blocks"},
      {{"set_super_value state 3"}, "errors"},
      {{"set_block_group 0 free_inodes_count 1"}, "group 0: the counters"},
      {{"unlink /directory/.."}, "\"..\""},
      {{fmt::format("setb {}", small_merged_size(kSnapshotBlock) / kSnapshotBlock - 1)},
       "no file has it"},
      {{"link /file /directory/second"}, "but 2 names lead to it"},
      {{"link /directory /second"}, "has more than one name"},
  };
  for (const Damage& damage : damages) {
    INFO(damage.requests.front());
    const std::vector<std::byte> bytes = damaged_by_debugfs(sound, damage.requests);
    REQUIRE((bytes != sound));
    write_differences(row.disk(), bytes);
    expect_error(MendedImage::make("frozen.img", row.disk().view(), frozen_goes_on),
                 {damage.message});
    write_differences(row.disk(), sound);
  }
  (void)value_of(MendedImage::make("frozen.img", row.disk().view(), frozen_goes_on));
}
