// SPDX-License-Identifier: BSD-3-Clause
//
// A checkpoint on a host that fails or loses power, at every change it makes in
// turn: the session is there, byte for byte, or the new layer; never a mixture.
#include "tests/unit/checkpoint/checkpoint_bench.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// The `number`th change or sync from now on fails, without any effect, and
// those after it as well if it is to stay so.
class FailingFile final : public GuardedFile {
 public:
  using GuardedFile::GuardedFile;

  void fail_at(uint64_t number, int error_number, bool stays) {
    left_ = number;
    error_number_ = error_number;
    stays_ = stays;
    has_failed_ = false;
  }
  bool has_failed() const { return has_failed_; }

 private:
  Result<void> pass() override {
    if (left_ == 0 || (--left_ > 0)) {
      return {};
    }
    has_failed_ = true;
    left_ = stays_ ? 1 : 0;
    return system_failure(error_number_, fmt::format("{}: told to fail", file_.name()));
  }

  uint64_t left_ = 0;
  int error_number_ = 0;
  bool stays_ = false;
  bool has_failed_ = false;
};

// Sets a flag at the `number`th change from now on, as a client does that comes just
// then.
class CancellingFile final : public GuardedFile {
 public:
  CancellingFile(WritableFile& file, std::atomic<bool>& is_cancelled)
      : GuardedFile(file), is_cancelled_(is_cancelled) {}

  void cancel_at(uint64_t number) { left_ = number; }

 private:
  Result<void> pass() override {
    if (left_ > 0 && --left_ == 0) {
      is_cancelled_ = true;
    }
    return {};
  }

  std::atomic<bool>& is_cancelled_;
  uint64_t left_ = 0;
};

enum class Content { kSession, kLayer };

// Fails the test when it is neither.
Content content_of(const CheckpointImages& images, const std::vector<std::byte>& found) {
  if (is_same_bytes(found, images.session())) {
    return Content::kSession;
  }
  const bool is_layer = is_same_bytes(found, images.after());
  REQUIRE(is_layer);
  return Content::kLayer;
}

// All of the upper as it lies in the file.
std::vector<std::byte> raw_bytes(const MemoryFile& file) {
  std::vector<std::byte> bytes(file.size_bytes());
  expect_success(file.peek(0, bytes));
  return bytes;
}

// Fails one change of the checkpoint; false when it makes no so many.
bool fail_one(const CheckpointImages& images, uint64_t number, int error_number, bool stays) {
  INFO("change " << number << ", errno " << error_number << (stays ? ", stays" : ""));
  const auto upper = images.with_session();
  FailingFile failing(*upper);
  std::unique_ptr<Disk> disk = open_disk(images.lower(), failing);
  expect_success(disk->close());
  failing.fail_at(number, error_number, stays);
  const uint64_t session_number = disk->state_area().session_number;
  const std::atomic<bool> is_cancelled{false};
  const auto result = disk->checkpoint(AskedBy::kPerson, is_cancelled);
  disk.reset();
  const bool has_failed = failing.has_failed();
  failing.fail_at(0, 0, false);

  const auto left = upper->clone();
  const Content content = content_of(images, shown(images.lower(), *left));
  if (result) {
    CHECK(content == Content::kLayer);
  } else {
    CHECK(has_failed);
    CHECK(result.error().error_number == error_number);
  }
  // Overlay tells by it whether a checkpoint that failed is committed.
  const bool is_next =
      load_disk(images.lower(), *left)->state_area().session_number != session_number;
  CHECK(is_next == (content == Content::kLayer));
  // In the same process, or in the next boot: the work can be done after all.
  for (const char* boot_id : {kBootId, kNextBootId}) {
    const auto again = upper->clone();
    content_of(images, shown(images.lower(), *again, boot_id));
    std::unique_ptr<Disk> next = open_disk(images.lower(), *again, boot_id);
    if (next->has_session()) {
      value_of(checkpoint(std::move(next)));
    }
    CHECK((content_of(images, shown(images.lower(), *again, boot_id)) == Content::kLayer));
  }
  return has_failed;
}

}  // namespace

TEST_CASE("Checkpoint: any change that fails leaves the session or the layer",
          "[checkpoint][faults]") {
  for (const uint32_t block_size : {1024U, 4096U}) {
    const CheckpointImages& images = CheckpointImages::of(block_size);
    for (const int error_number : {ENOSPC, EIO}) {
      for (const bool stays : {false, true}) {
        uint64_t number = 1;
        while (fail_one(images, number, error_number, stays)) {
          ++number;
        }
        CHECK(number > 20);
      }
    }
  }
}

TEST_CASE("Checkpoint: one that fails for want of space takes none", "[checkpoint][faults]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  const auto upper = images.with_session();
  const uint64_t size_bytes = upper->size_bytes();
  const uint64_t allocated = upper->allocated_bytes();
  for (int i = 0; i < 5; ++i) {
    auto disk = open_disk(images.lower(), *upper);
    upper->set_free_pages(6);
    const auto result = checkpoint(std::move(disk));
    REQUIRE_FALSE(result);
    CHECK(result.error().error_number == ENOSPC);
    upper->set_free_pages(UINT32_MAX);
  }
  CHECK(upper->size_bytes() <= size_bytes);
  // Homes stay allocated; the journal does not.
  CHECK(upper->allocated_bytes() <= allocated + 6 * MemoryFile::kPageBytes);
  CHECK((content_of(images, shown(images.lower(), *upper)) == Content::kSession));
}

TEST_CASE("Checkpoint: a cancelled one leaves the session", "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  const auto upper = images.with_session();
  auto disk = open_disk(images.lower(), *upper);
  expect_success(disk->close());
  const std::atomic<bool> is_cancelled{true};
  const auto result = disk->checkpoint(AskedBy::kServer, is_cancelled);
  REQUIRE_FALSE(result);
  CHECK(result.error().error_number == ECANCELED);
  disk.reset();
  CHECK((content_of(images, shown(images.lower(), *upper)) == Content::kSession));
}

TEST_CASE("Checkpoint: one that is cancelled while it is journaled leaves the session",
          "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  uint64_t number = 1;
  for (;; ++number) {
    INFO("change " << number);
    const auto upper = images.with_session();
    std::atomic<bool> is_cancelled{false};
    CancellingFile file(*upper, is_cancelled);
    auto disk = open_disk(images.lower(), file);
    expect_success(disk->close());
    const uint64_t size_bytes = upper->size_bytes();
    file.cancel_at(number);
    const auto result = disk->checkpoint(AskedBy::kServer, is_cancelled);
    disk.reset();
    REQUIRE(is_cancelled);
    if (result) {
      break;  // committed before the client came
    }
    CHECK(result.error().error_number == ECANCELED);
    CHECK(upper->size_bytes() == size_bytes);
    CHECK((content_of(images, shown(images.lower(), *upper)) == Content::kSession));
  }
  CHECK(number > 20);
}

TEST_CASE("Checkpoint: after power loss none by itself until the image was checked",
          "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  const std::atomic<bool> is_cancelled{false};
  const auto upper = images.with_session();
  (void)open_disk(images.lower(), *upper);  // never closed: the server died
  SECTION("in this boot the server's death proves nothing against the image") {
    auto disk = open_disk(images.lower(), *upper);
    expect_success(disk->close());
    value_of(disk->checkpoint(AskedBy::kServer, is_cancelled));
  }
  SECTION("in the next boot") {
    auto disk = open_disk(images.lower(), *upper, kNextBootId);
    expect_success(disk->close());
    expect_error(disk->checkpoint(AskedBy::kServer, is_cancelled), {"power was lost"});
    CHECK((content_of(images, shown(images.lower(), *upper, kNextBootId)) == Content::kSession));
    SECTION("a person may know better") {
      disk = open_disk(images.lower(), *upper, kNextBootId);
      expect_success(disk->close());
      value_of(disk->checkpoint(AskedBy::kPerson, is_cancelled));
    }
    SECTION("e2fsck says so") {
      disk = open_disk(images.lower(), *upper, kNextBootId);
      constexpr uint64_t kPlace =
          ext2::kSuperblockOffsetBytes + offsetof(ext2::Superblock, s_lastcheck);
      const Le32 now(1700000000);
      expect_success(disk->write(kPlace, std::as_bytes(std::span(&now, 1))));
      expect_success(disk->close());
      value_of(disk->checkpoint(AskedBy::kServer, is_cancelled));
    }
  }
}

TEST_CASE("Checkpoint: same session, same bytes", "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  std::vector<std::byte> first;
  for (int i = 0; i < 2; ++i) {
    const auto upper = images.with_session();
    value_of(checkpoint(open_disk(images.lower(), *upper)));
    const std::vector<std::byte> bytes = raw_bytes(*upper);
    CHECK((i == 0 || bytes == first));
    first = bytes;
  }
}

TEST_CASE("Checkpoint: a second one has nothing to do", "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(4096);
  const auto upper = images.with_session();
  value_of(checkpoint(open_disk(images.lower(), *upper)));
  auto disk = open_disk(images.lower(), *upper);
  CHECK_FALSE(disk->has_session());
  const CheckpointFigures figures = value_of(checkpoint(std::move(disk)));
  CHECK(figures.written_blocks == 0);
  CHECK(figures.own_inodes_added == 0);
  CHECK((content_of(images, shown(images.lower(), *upper)) == Content::kLayer));
}

TEST_CASE("Checkpoint: a journal that is not home yet shows the layer to readers", "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  int pending = 0;
  for (uint64_t number = 1;; ++number) {
    const auto upper = images.with_session();
    FailingFile failing(*upper);
    std::unique_ptr<Disk> disk = open_disk(images.lower(), failing);
    expect_success(disk->close());
    failing.fail_at(number, EIO, true);
    const std::atomic<bool> is_cancelled{false};
    (void)disk->checkpoint(AskedBy::kPerson, is_cancelled);
    disk.reset();
    if (!failing.has_failed()) {
      break;
    }
    const auto reader = load_disk(images.lower(), *upper);
    if (!reader->has_journal()) {
      continue;
    }
    ++pending;
    const std::vector<std::byte> raw = raw_bytes(*upper);
    expect_success(reader->attach(Access::kReadOnly));
    CHECK((content_of(images, read_all(*reader)) == Content::kLayer));
    CHECK(raw_bytes(*upper) == raw);
  }
  CHECK(pending > 5);
}

TEST_CASE("Checkpoint: a damaged journal is refused, not replayed", "[checkpoint]") {
  const CheckpointImages& images = CheckpointImages::of(1024);
  // The first failure that leaves a journal: nothing of it is home.
  std::unique_ptr<MemoryFile> pending;
  for (uint64_t number = 1; !pending; ++number) {
    const auto upper = images.with_session();
    FailingFile failing(*upper);
    std::unique_ptr<Disk> disk = open_disk(images.lower(), failing);
    expect_success(disk->close());
    failing.fail_at(number, EIO, true);
    const std::atomic<bool> is_cancelled{false};
    (void)disk->checkpoint(AskedBy::kPerson, is_cancelled);
    REQUIRE(failing.has_failed());
    disk.reset();
    if (load_disk(images.lower(), *upper)->has_journal()) {
      pending = upper->clone();
    }
  }
  const auto superblock = pending->get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
  const StateArea area =
      value_of(read_state_area(*pending, value_of(required_mark_of("upper.img", superblock))));
  REQUIRE(area.journal.length > 0);
  std::mt19937_64 random(test_seed("a damaged journal"));
  for (int i = 0; i < 100; ++i) {
    const uint64_t offset = area.journal.offset + random() % area.journal.length;
    INFO("byte " << offset - area.journal.offset << " of the journal");
    const auto upper = pending->clone();
    upper->put(offset, static_cast<uint8_t>(upper->get<uint8_t>(offset) ^ (1U << random() % 8)));
    const std::vector<std::byte> raw = raw_bytes(*upper);
    const auto disk = Disk::load(*images.lower().image, *upper, kBootId, quiet_log());
    CHECK((expect_error(disk, {"journal"}) == ErrorKind::kCorrupt));
    CHECK(raw_bytes(*upper) == raw);
  }
}

// ---- power loss ------------------------------------------------------------------

namespace {

struct PowerLossFigures {
  uint64_t losses = 0;
  uint64_t exhaustive = 0;  // of these, as one of all combinations
  uint64_t layers = 0;
  uint64_t sessions = 0;
};

// What is on the disk is the session or the layer, also when power goes once
// more while the checkpoint is being finished.
void check_left(const CheckpointImages& images, std::unique_ptr<MemoryFile> left,
                std::mt19937_64& random, PowerLossFigures& figures) {
  ++figures.losses;
  if (load_disk(images.lower(), *left, kNextBootId)->has_journal()) {
    PowerLossFile again(std::move(left));
    const auto pending = load_disk(images.lower(), again, kNextBootId);
    again.crash_after(1 + random() % 12);
    (void)pending->finish_checkpoint();
    RandomChooser chooser(random);
    left = again.lose_power(chooser);
  }
  const bool is_layer =
      content_of(images, shown(images.lower(), *left, kNextBootId)) == Content::kLayer;
  ++(is_layer ? figures.layers : figures.sessions);
}

// A server was killed, and the next one on the same boot finishes what it finds, which
// the disk need not have yet.
void finish_until_power_is_lost(const CheckpointImages& images, PowerLossFile& file,
                                std::mt19937_64& random) {
  file.restart();
  const auto found = load_disk(images.lower(), file);
  if (found->has_journal()) {
    file.crash_after(1 + random() % 12);
    (void)found->finish_checkpoint();
  }
}

// Power goes at the `number`th change of the checkpoint, or, `after_a_kill` there, while
// the next server is at it; what is on the disk is drawn several times, or is every
// combination where these are few.  False when it makes no so many changes.
bool lose_power_at(const CheckpointImages& images, uint64_t number, bool after_a_kill,
                   std::mt19937_64& random, PowerLossFigures& figures) {
  constexpr int kDraws = 6;
  constexpr size_t kFewSectors = 5;
  INFO("power is lost at change " << number << ", after a kill: " << after_a_kill);
  PowerLossFile file(images.with_session());
  std::unique_ptr<Disk> disk = open_disk(images.lower(), file);
  expect_success(disk->close());
  file.crash_after(number);
  const std::atomic<bool> is_cancelled{false};
  (void)disk->checkpoint(AskedBy::kPerson, is_cancelled);
  disk.reset();
  const bool was_reached = file.has_crashed();
  if (after_a_kill) {
    finish_until_power_is_lost(images, file, random);
  }
  if (file.open_sectors() <= kFewSectors) {
    EveryChooser every;
    do {
      check_left(images, file.lose_power(every), random, figures);
      ++figures.exhaustive;
    } while (every.next());
    return was_reached;
  }
  for (int i = 0; i < kDraws; ++i) {
    RandomChooser chooser(random);
    check_left(images, file.lose_power(chooser), random, figures);
  }
  return was_reached;
}

}  // namespace

TEST_CASE("Checkpoint: power lost at any change leaves the session or the layer",
          "[checkpoint][power-loss]") {
  std::mt19937_64 random(test_seed("power loss in a checkpoint"));
  PowerLossFigures figures;
  for (const uint32_t block_size : {1024U, 4096U}) {
    const CheckpointImages& images = CheckpointImages::of(block_size);
    for (const bool after_a_kill : {false, true}) {
      uint64_t number = 1;
      while (lose_power_at(images, number, after_a_kill, random, figures)) {
        ++number;
      }
    }
  }
  CHECK(figures.layers > 50);
  CHECK(figures.sessions > 50);
  CHECK(figures.exhaustive > 0);
  WARN(figures.losses << " power losses: " << figures.sessions << " sessions, " << figures.layers
                      << " layers; " << figures.exhaustive << " of every combination");
}
