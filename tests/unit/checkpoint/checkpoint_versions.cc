// SPDX-License-Identifier: BSD-3-Clause
//
// The checkpoint that makes an upper of version 1 one of version 2: power is lost
// at every change of it in turn, and what is left is one or the other.
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/support/old_version.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

struct Figures {
  uint64_t old_uppers = 0;
  uint64_t new_uppers = 0;
  uint64_t mixed = 0;  // a new mark beside an old header that names a journal
};

void check_left(const CheckpointImages& images, const MemoryFile& left, Figures& figures) {
  const uint32_t in_mark = mark_in(left).version;
  const uint32_t in_header = header_in(left).version;
  const auto found = left.clone();
  const auto reader = load_disk(images.lower(), *found, kNextBootId);
  figures.mixed += in_mark != in_header ? 1 : 0;
  CHECK((in_mark == in_header || (in_mark == 2 && reader->has_journal())));
  // The version is the content's: the old session, or the new layer.
  const bool is_new = reader->state_area().version == 2;
  CHECK((is_new || in_mark == 1));
  const std::vector<std::byte> bytes = shown(images.lower(), *found, kNextBootId);
  CHECK((bytes == (is_new ? images.after() : images.session())));
  CHECK(mark_in(*found).version == (is_new ? 2U : 1U));
  CHECK(header_in(*found).version == (is_new ? 2U : 1U));
  ++(is_new ? figures.new_uppers : figures.old_uppers);
}

// False when the checkpoint makes no so many changes.
bool lose_power_at(const CheckpointImages& images, uint64_t number, std::mt19937_64& random,
                   Figures& figures) {
  INFO("power is lost at change " << number);
  auto upper = images.with_session();
  make_version_1(*upper, images.lower().volume);
  PowerLossFile file(std::move(upper));
  std::unique_ptr<Disk> disk = open_disk(images.lower(), file);
  expect_success(disk->close());
  file.crash_after(number);
  const std::atomic<bool> is_cancelled{false};
  (void)disk->checkpoint(AskedBy::kPerson, is_cancelled);
  disk.reset();
  for (int i = 0; i < 4; ++i) {
    RandomChooser chooser(random);
    check_left(images, *file.lose_power(chooser), figures);
  }
  return file.has_crashed();
}

}  // namespace

TEST_CASE("Checkpoint: power lost while version 1 becomes version 2", "[checkpoint][versions]") {
  std::mt19937_64 random(test_seed("power loss between versions"));
  const CheckpointImages& images = CheckpointImages::of(1024);
  Figures figures;
  for (uint64_t number = 1; lose_power_at(images, number, random, figures); ++number) {
  }
  CHECK(figures.old_uppers > 10);
  CHECK(figures.new_uppers > 10);
  CHECK(figures.mixed > 3);
}

TEST_CASE("Checkpoint: unknown compat features stay", "[checkpoint][versions]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  const auto upper = images.with_session();
  upper_format::Header header = header_in(*upper);
  header.feature_compat = 0x40000001U;
  header.reserved[7] = 9;
  replace_header(*upper, header);
  value_of(checkpoint(open_disk(images.lower(), *upper)));
  CHECK(header_in(*upper).feature_compat == 0x40000001U);
  CHECK(header_in(*upper).reserved[7] == 9);
  CHECK((shown(images.lower(), *upper) == images.after()));
}

TEST_CASE("Checkpoint: a journal is not brought home by who may only read",
          "[checkpoint][versions]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  for (uint64_t number = 1;; ++number) {
    PowerLossFile file(images.with_session());
    std::unique_ptr<Disk> disk = open_disk(images.lower(), file);
    expect_success(disk->close());
    file.crash_after(number);
    const std::atomic<bool> is_cancelled{false};
    (void)disk->checkpoint(AskedBy::kPerson, is_cancelled);
    disk.reset();
    REQUIRE(file.has_crashed());
    std::mt19937_64 random(number);
    RandomChooser chooser(random);
    const auto upper = file.lose_power(chooser);
    if (!load_disk(images.lower(), *upper, kNextBootId)->has_journal()) {
      continue;
    }
    upper_format::Header header = header_in(*upper);
    header.feature_ro_compat = 0x2U;
    replace_header(*upper, header);
    const auto reader = load_disk(images.lower(), *upper, kNextBootId);
    CHECK((expect_error(reader->finish_checkpoint(), {"upper.img", "FEATURE_R1"}) ==
           ErrorKind::kUnsupported));
    expect_success(reader->attach(Access::kReadOnly));
    CHECK((read_all(*reader) == images.after()));
    return;
  }
}
