// SPDX-License-Identifier: BSD-3-Clause
//
// The power goes at any change that a rebase makes to its new file: until it says that it is done,
// nobody gives that file the upper's name, and from then on the file is right whatever the disk
// has written by itself.
#include <random>

#include "overlay/merged/merged_image.h"
#include "tests/unit/rebase/rebase_room.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Loses its syncs, so that the test sees what it looks for.
class SynclessFile final : public ForwardingFile {
 public:
  using ForwardingFile::ForwardingFile;
  Result<void> sync() override { return {}; }
};

std::unique_ptr<PowerLossFile> empty_file() {
  return std::make_unique<PowerLossFile>(std::make_unique<MemoryFile>("target"));
}

}  // namespace

TEST_CASE("Rebase: a power loss at any change leaves a file that nobody renames, or a right one",
          "[rebase][making]") {
  RebaseRoom room;
  MemoryFile whole("target");
  REQUIRE(value_of(room.run(whole)).is_done);

  const auto undisturbed = empty_file();
  REQUIRE(value_of(room.run(*undisturbed)).is_done);
  const uint64_t count = undisturbed->change_count();
  REQUIRE(count > 20);
  for (uint64_t number = 1; number <= count; ++number) {
    INFO("change " << number << " of " << count);
    const auto target = empty_file();
    target->crash_after(number);
    const auto outcome = room.run(*target);
    REQUIRE(target->has_crashed());
    // Not even where only the last sync failed.
    REQUIRE_FALSE(outcome.has_value());
  }
  CHECK(room.is_upper_as_it_was());
}

TEST_CASE("Rebase: what it says is done survives a power loss", "[rebase][making]") {
  RebaseRoom room;
  MemoryFile whole("target");
  REQUIRE(value_of(room.run(whole)).is_done);
  const std::vector<std::byte> wanted = all_of(whole);
  std::mt19937_64 random(1);

  const auto target = empty_file();
  REQUIRE(value_of(room.run(*target)).is_done);
  CHECK(target->open_sectors() == 0);
  for (int round = 0; round < 20; ++round) {
    RandomChooser chooser(random);
    CHECK(all_of(*target->lose_power(chooser)) == wanted);
  }

  // Without syncs the same look finds that it is not right.
  const auto unsynced = empty_file();
  SynclessFile syncless(*unsynced);
  REQUIRE(value_of(room.run(syncless)).is_done);
  CHECK(unsynced->open_sectors() > 0);
  bool is_any_wrong = false;
  for (int round = 0; round < 20; ++round) {
    RandomChooser chooser(random);
    is_any_wrong = is_any_wrong || all_of(*unsynced->lose_power(chooser)) != wanted;
  }
  CHECK(is_any_wrong);
}
