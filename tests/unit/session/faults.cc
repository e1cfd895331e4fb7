// SPDX-License-Identifier: BSD-3-Clause
//
// A session on a host that fails: what the caller hears, what stays, and what
// counts after a restart.  And in which order a flush does things.
#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

#include "tests/unit/session/session_bench.h"
#include "tests/unit/support/manual_clock.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 4096;

uint64_t offset_of(const std::string& place, uint32_t block_size = kBlock) {
  return BenchImages::of(block_size).place(place).value() * block_size;
}

// A disk on a file that fails when told.
struct FaultyDisk {
  explicit FaultyDisk(uint32_t block_size = kBlock, Clock& clock = steady_clock())
      : images(BenchImages::of(block_size)), upper(images.upper()), faulty(*upper) {
    disk = value_of(Disk::load(
        *images.lower().image, faulty, kBootId,
        [this](const std::string& line) { log.push_back(line); }, clock));
    expect_success(disk->attach(Access::kReadWrite));
    upper->reset_counts();
  }

  bool is_stamped() const {
    const auto stamp = upper->get<upper_format::Stamp>(disk->state_area().stamp_offset());
    return stamp.magic == upper_format::kStampMagic;
  }
  // The content after a restart of the server, in this boot or another.
  std::vector<std::byte> after_restart(const std::string& boot_id) {
    const auto left = upper->clone();
    return read_all(*open_disk(images.lower(), *left, boot_id));
  }

  const BenchImages& images;
  std::unique_ptr<MemoryFile> upper;
  FaultyFile faulty;
  std::vector<std::string> log;
  std::unique_ptr<Disk> disk;
};

void expect_errno(const Result<void>& result, int error_number) {
  REQUIRE_FALSE(result);
  CHECK(result.error().error_number == error_number);
  CHECK_THAT(result.error().message, Catch::Contains("upper.img"));
}

}  // namespace

// ---- no space ------------------------------------------------------------------

TEST_CASE("Faults: without space a write fails with ENOSPC and changes nothing", "[faults]") {
  for (const uint32_t block_size : {1024U, 4096U}) {
    for (const char* place : {"lower data", "zeros", "superblock", "plain inodes", "translated"}) {
      INFO(place << " of " << block_size);
      SessionBench bench(block_size);
      // The bitmap's page has its space, so that it is the data that fails.
      bench.apply(Action::kWrite, offset_of("lower end", block_size), block_size);
      const uint64_t offset = offset_of(place, block_size);
      bench.upper().set_free_pages(0);
      expect_errno(bench.disk().write(offset + 100, pattern(1, 200)), ENOSPC);
      expect_errno(bench.disk().write(offset, pattern(1, block_size)), ENOSPC);
      expect_errno(bench.disk().zero(offset, block_size, {false, false}), ENOSPC);
      bench.check_all();
      // What lies home already can still be changed, and a punch needs no space.
      bench.apply(Action::kWrite, offset_of("lower end", block_size) + 10, 500, 4);
      bench.upper().set_free_pages(1000);
      bench.apply(Action::kWrite, offset + 100, 200, 5);
      bench.check_all();
    }
  }
}

TEST_CASE("Faults: without space for its bit a write is not begun", "[faults]") {
  SessionBench bench(kBlock);
  bench.upper().set_free_pages(0);
  bench.upper().record(true);
  const uint64_t offset = offset_of("lower data");
  expect_errno(bench.disk().write(offset, pattern(1, kBlock)), ENOSPC);
  const StateArea& area = bench.disk().state_area();
  for (const RecordedOperation& operation : bench.upper().take_record()) {
    CHECK(operation.is_inside(area.durable_bitmap.offset, area.live_bitmap.end()));
  }
  expect_errno(bench.disk().write(offset_of("own"), pattern(1, kBlock)), ENOSPC);
  bench.check_all();
  // Room for one of the two bitmaps is not enough.
  bench.upper().set_free_pages(1);
  expect_errno(bench.disk().write(offset, pattern(1, kBlock)), ENOSPC);
  bench.check_all();
  bench.upper().set_free_pages(100);
  bench.apply(Action::kWrite, offset, kBlock);
  bench.check_all();
  CHECK_FALSE(bench.upper().has_store_without_space());
}

TEST_CASE("Faults: a host that copies on write may lack the space of a bit", "[faults]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const uint64_t offset = offset_of("lower data");
  const auto upper = images.upper();
  upper->abilities().overwrites_in_place = false;
  FaultyFile faulty(*upper);
  const auto disk = open_disk(images.lower(), faulty);
  expect_success(disk->write(offset_of("lower end"), pattern(1, kBlock)));
  const std::vector<std::byte> before = read_range(*disk, offset, kBlock);
  faulty.fail(FileOperation::kWrite, 2, ENOSPC);  // the first is that of the data
  expect_errno(disk->write(offset, pattern(2, kBlock)), ENOSPC);
  CHECK(read_range(*disk, offset, kBlock) == before);
  const auto left = upper->clone();
  CHECK(read_range(*open_disk(images.lower(), *left), offset, kBlock) == before);
  expect_success(disk->write(offset, pattern(3, kBlock)));
  // Nothing was flushed; the server dies.
  const auto killed = upper->clone();
  const auto next = open_disk(images.lower(), *killed);
  CHECK(read_range(*next, offset, kBlock) == pattern(3, kBlock));
  CHECK(read_range(*next, offset_of("lower end"), kBlock) == pattern(1, kBlock));
}

TEST_CASE("Faults: a failed sync takes the stamp away, also where it cannot be overwritten",
          "[faults]") {
  FaultyDisk bench;
  expect_success(bench.disk->write(offset_of("lower data"), pattern(1, kBlock)));
  bench.faulty.fail(FileOperation::kSync, 1, EIO);
  bench.faulty.fail(FileOperation::kWrite, 1, ENOSPC);
  expect_errno(bench.disk->flush(), EIO);
  CHECK_FALSE(bench.is_stamped());
}

TEST_CASE("Faults: a trim gives back what it can on a full host", "[faults]") {
  SessionBench bench(kBlock);
  const uint64_t lower_data = offset_of("lower data");
  const uint64_t written = offset_of("zeros");
  bench.apply(Action::kWrite, written, kBlock);
  REQUIRE(bench.upper().is_allocated(written));
  bench.reopen(true);
  const std::vector<std::byte> before = read_range(bench.disk(), lower_data, kBlock);
  bench.upper().set_free_pages(0);
  expect_success(bench.disk().trim(0, small_merged_size(kBlock)));
  CHECK_FALSE(bench.upper().is_allocated(written));
  // There was room for its bit, or there was not.
  const std::vector<std::byte> after = read_range(bench.disk(), lower_data, kBlock);
  CHECK((after == before || after == std::vector<std::byte>(kBlock)));
  CHECK_FALSE(bench.upper().has_store_without_space());
}

TEST_CASE("Faults: a write that runs out of space in the middle", "[faults]") {
  SessionBench bench(kBlock);
  bench.apply(Action::kWrite, offset_of("lower end"), kBlock);
  const uint64_t offset = offset_of("zeros");
  const std::vector<std::byte> before = read_range(bench.disk(), offset, 8 * kBlock);
  bench.upper().set_free_pages(3);
  const std::vector<std::byte> bytes = pattern(9, 8 * kBlock);
  expect_errno(bench.disk().write(offset, bytes), ENOSPC);
  // Each sector is old or new, here block by block.
  const std::vector<std::byte> after = read_range(bench.disk(), offset, 8 * kBlock);
  for (size_t at = 0; at < after.size(); at += 512) {
    const bool is_old = std::equal(&after[at], &after[at] + 512, &before[at]);
    const bool is_new = std::equal(&after[at], &after[at] + 512, &bytes[at]);
    CHECK((is_old || is_new));
  }
}

TEST_CASE("Faults: the host's errno reaches the caller", "[faults]") {
  // The first write of all reserves a page of either bitmap before the data.
  for (const uint64_t number : {1U, 2U, 3U}) {
    const int error_number = number == 2 ? EDQUOT : EIO;
    FaultyDisk bench;
    bench.faulty.fail(FileOperation::kWrite, number, error_number);
    const uint64_t offset = offset_of("lower data");
    expect_errno(bench.disk->write(offset + 7, pattern(1, 100)), error_number);
    CHECK(read_all(*bench.disk) == bench.images.merged());
    expect_success(bench.disk->write(offset + 7, pattern(1, 100)));
    CHECK(read_range(*bench.disk, offset + 7, 100) == pattern(1, 100));
  }
  FaultyDisk bench;
  const uint64_t offset = offset_of("lower data");
  expect_success(bench.disk->write(offset, pattern(1, kBlock)));
  bench.faulty.fail(FileOperation::kRead, 1, EIO);
  std::vector<std::byte> buffer(100);
  expect_errno(bench.disk->read(offset, buffer), EIO);
  bench.faulty.fail(FileOperation::kPunch, 1, EIO);
  expect_errno(bench.disk->trim(offset, kBlock), EIO);
  bench.faulty.fail(FileOperation::kZeroRange, 1, EIO);
  expect_errno(bench.disk->zero(offset, kBlock, {false, false}), EIO);
  CHECK(read_range(*bench.disk, offset, kBlock) == pattern(1, kBlock));
  expect_success(bench.disk->flush());
  CHECK(bench.log.empty());
}

// ---- a failed sync ---------------------------------------------------------------

TEST_CASE("Faults: after a failed sync nothing works and only flushed data counts", "[faults]") {
  const uint64_t flushed = offset_of("lower data");
  const uint64_t lost = offset_of("zeros");
  FaultyDisk bench;
  expect_success(bench.disk->write(flushed, pattern(1, kBlock)));
  expect_success(bench.disk->flush());
  expect_success(bench.disk->write(lost, pattern(2, kBlock)));
  CHECK(bench.is_stamped());
  bench.faulty.fail(FileOperation::kSync, 1, EIO);
  expect_errno(bench.disk->flush(), EIO);
  CHECK_FALSE(bench.is_stamped());
  CHECK(bench.log.size() == 1);

  std::vector<std::byte> buffer(512);
  expect_errno(bench.disk->read(flushed, buffer), EIO);
  expect_errno(bench.disk->read(flushed, buffer), EIO);
  expect_errno(bench.disk->write(flushed, pattern(3, 100)), EIO);
  expect_errno(bench.disk->zero(flushed, 100, {}), EIO);
  expect_errno(bench.disk->trim(flushed, kBlock), EIO);
  expect_errno(bench.disk->flush(), EIO);
  CHECK(bench.log.size() == 1);
  CHECK_FALSE(bench.disk->close());
  CHECK_FALSE(bench.is_stamped());

  std::vector<std::byte> expected = bench.images.merged();
  const std::vector<std::byte> bytes = pattern(1, kBlock);
  std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<ptrdiff_t>(flushed));
  CHECK(bench.after_restart(kBootId) == expected);
  CHECK(bench.after_restart(kNextBootId) == expected);
}

TEST_CASE("Faults: the second sync of a flush may fail too", "[faults]") {
  FaultyDisk bench;
  expect_success(bench.disk->write(offset_of("zeros"), pattern(2, kBlock)));
  bench.faulty.fail(FileOperation::kSync, 2, EIO);
  expect_errno(bench.disk->flush(), EIO);
  CHECK_FALSE(bench.is_stamped());
  CHECK(bench.log.size() == 1);
}

TEST_CASE("Faults: when the durable bits cannot be written the next flush writes them",
          "[faults]") {
  FaultyDisk bench;
  const uint64_t offset = offset_of("lower data");
  expect_success(bench.disk->write(offset, pattern(1, kBlock)));
  bench.faulty.fail(FileOperation::kWrite, 1, ENOSPC);
  expect_errno(bench.disk->flush(), ENOSPC);
  CHECK(bench.is_stamped());
  CHECK(bench.after_restart(kNextBootId) == bench.images.merged());
  expect_success(bench.disk->flush());
  CHECK(bench.after_restart(kNextBootId) == read_all(*bench.disk));
  CHECK(bench.after_restart(kNextBootId) != bench.images.merged());
}

// ---- flushes ------------------------------------------------------------------------

TEST_CASE("Flush: data is synced before its bits are written", "[flush]") {
  SessionBench bench(kBlock);
  const StateArea& area = bench.disk().state_area();
  const auto is_durable_write = [&area](const RecordedOperation& operation) {
    return operation.kind == FileOperation::kWrite &&
           operation.is_inside(area.durable_bitmap.offset, area.durable_bitmap.end());
  };
  bench.apply(Action::kWrite, offset_of("zeros"), kBlock);  // reserves the page of bits
  bench.upper().record(true);
  for (const char* place : {"lower data", "superblock", "translated", "own"}) {
    bench.apply(Action::kWrite, offset_of(place), kBlock);
  }
  // Nothing but a flush writes durable bits.
  for (const RecordedOperation& operation : bench.upper().take_record()) {
    CHECK_FALSE(is_durable_write(operation));
    CHECK(operation.kind != FileOperation::kSync);
  }
  expect_success(bench.disk().flush());
  const auto flush = bench.upper().take_record();
  REQUIRE(flush.size() == 3);  // one page of bits holds the whole image
  CHECK(flush[0].kind == FileOperation::kSync);
  CHECK(is_durable_write(flush[1]));
  CHECK(flush[2].kind == FileOperation::kSync);

  // Nothing touched for the first time since: one sync, and no write.
  bench.apply(Action::kWrite, offset_of("lower data") + 5, 100);
  (void)bench.upper().take_record();
  expect_success(bench.disk().flush());
  const auto again = bench.upper().take_record();
  REQUIRE(again.size() == 1);
  CHECK(again[0].kind == FileOperation::kSync);
}

TEST_CASE("Flush: a trim or zero that touches first is flushed as a write is", "[flush]") {
  for (const Action action : {Action::kZero, Action::kZeroAndTrim, Action::kTrim}) {
    SessionBench bench(kBlock);
    bench.apply(action, offset_of("own"), kBlock);
    bench.upper().record(true);
    expect_success(bench.disk().flush());
    CHECK(bench.upper().take_record().size() == 3);
    bench.reopen(false, kNextBootId);
    bench.check_all();
  }
}

namespace {

// Once armed, a sync ends only when all others wait for it, so that flushes meet.
class MeetingFile final : public ForwardingFile {
 public:
  MeetingFile(WritableFile& file, ManualClock& clock) : ForwardingFile(file), clock_(clock) {}

  // From now on, with this many threads that flush.
  void arm(uint64_t thread_count) {
    thread_count_ = thread_count;
    clock_.await_idle();
    clock_.forget_sleepers();  // the session's flusher
  }
  Result<void> sync() override {
    if (thread_count_ > 0) {
      ++syncs_;
      clock_.await_sleepers(thread_count_ - 1);
      clock_.forget_sleepers();  // the end of the round wakes them
    }
    return file_.sync();
  }
  int syncs() const { return syncs_; }

 private:
  ManualClock& clock_;
  uint64_t thread_count_ = 0;
  std::atomic<int> syncs_{0};
};

// `thread_count` threads write and flush so many times each.  Returns the syncs.
int count_syncs_of(uint64_t thread_count, uint64_t flush_count) {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto upper = images.upper();
  ManualClock clock;
  MeetingFile file(*upper, clock);
  const auto disk = open_disk(images.lower(), file, kBootId, clock);
  file.arm(thread_count);
  std::atomic<uint64_t> good{0};
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < thread_count; ++i) {
    threads.emplace_back([&, i] {
      for (uint64_t j = 0; j < flush_count; ++j) {
        const uint64_t block = j * thread_count + i;
        const uint64_t offset = offset_of("zeros") + block * kBlock;
        good += disk->write(offset, pattern(block, kBlock)) && disk->flush() ? 1 : 0;
      }
      clock.count_as_sleeper();
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(good == thread_count * flush_count);
  CHECK(read_all(*open_disk(images.lower(), *upper->clone(), kNextBootId)) == read_all(*disk));
  return file.syncs();
}

}  // namespace

TEST_CASE("Flush: flushes that meet share one", "[flush]") {
  // The first goes alone, and those that came meanwhile share the next, or the next two
  // where the first did not take their bits along.
  const int syncs = count_syncs_of(16, 1);
  CHECK(syncs >= 2);
  CHECK(syncs <= 3);
}

TEST_CASE("Flush: clients that flush all the time share their syncs", "[flush]") {
  constexpr int kFlushes = 10;
  const int syncs = count_syncs_of(8, kFlushes);
  INFO(syncs);
  CHECK(syncs <= 3 * kFlushes);
}

namespace {

// A session whose time the test makes.
struct TimedBench {
  TimedBench() : bench(kBlock, clock) { clock.await_idle(); }

  bool has_durable_bits() {
    const FileRange& durable = bench.disk().state_area().durable_bitmap;
    std::vector<std::byte> bytes(durable.length);
    expect_success(bench.upper().peek(durable.offset, bytes));
    return std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
  }
  uint64_t syncs() { return bench.upper().count(FileOperation::kSync); }

  ManualClock clock;
  SessionBench bench;
};

using std::chrono::seconds;

}  // namespace

TEST_CASE("Flush: by itself, when nothing was written for two seconds", "[flush]") {
  TimedBench timed;
  timed.bench.apply(Action::kWrite, offset_of("lower data"), kBlock);
  CHECK(timed.clock.await_deadline() == seconds(2));
  timed.clock.advance(seconds(1));
  timed.bench.apply(Action::kWrite, offset_of("lower end"), kBlock);
  timed.clock.advance(seconds(1));
  // It was not quiet, so it waits once more.
  CHECK(timed.clock.await_deadline() == seconds(2));
  CHECK_FALSE(timed.has_durable_bits());
  timed.clock.advance(seconds(2));
  timed.clock.await_idle();
  CHECK(timed.has_durable_bits());
  CHECK(timed.syncs() == 2);
  timed.bench.reopen(false, kNextBootId);
  timed.bench.check_all();
}

TEST_CASE("Flush: by itself, also what was written before it was stopped and started", "[flush]") {
  TimedBench timed;
  timed.bench.apply(Action::kWrite, offset_of("lower data"), kBlock);
  CHECK(timed.clock.await_deadline() == seconds(2));
  timed.bench.disk().flush_by_itself(false);
  timed.bench.disk().flush_by_itself(true);
  CHECK(timed.clock.await_deadline() == seconds(2));
  timed.clock.advance(seconds(2));
  timed.clock.await_idle();
  CHECK(timed.has_durable_bits());
}

TEST_CASE("Flush: by itself, too, when blocks are changed that lie home already", "[flush]") {
  for (const Action action : kActions) {
    TimedBench timed;
    timed.bench.apply(Action::kWrite, offset_of("lower data"), kBlock);
    timed.clock.await_deadline();
    timed.clock.advance(seconds(2));
    timed.clock.await_idle();
    timed.bench.upper().record(true);
    timed.bench.apply(action, offset_of("lower data"), kBlock, 2);
    CHECK(timed.clock.await_deadline() == seconds(2));
    // Writing goes on, so the quiet begins anew.
    timed.bench.apply(action, offset_of("lower data"), kBlock, 3);
    timed.clock.advance(seconds(2));
    CHECK(timed.clock.await_deadline() == seconds(2));
    (void)timed.bench.upper().take_record();
    timed.clock.advance(seconds(2));
    timed.clock.await_idle();
    // The data is all there is to sync, and once: a quiet disk is left alone.
    const auto flush = timed.bench.upper().take_record();
    REQUIRE(flush.size() == 1);
    CHECK(flush[0].kind == FileOperation::kSync);
    timed.clock.advance(seconds(10));
    timed.clock.await_idle();
    CHECK(timed.bench.upper().take_record().empty());
  }
}

TEST_CASE("Flush: one that fails is tried again by itself, and told once", "[flush][faults]") {
  ManualClock clock;
  FaultyDisk bench(kBlock, clock);
  clock.await_idle();
  const uint64_t offset = offset_of("lower data");
  expect_success(bench.disk->write(offset, pattern(1, kBlock)));
  CHECK(clock.await_deadline() == seconds(2));
  bench.faulty.fail(FileOperation::kWrite, 1, ENOSPC, 1);
  for (int failures = 1; failures <= 2; ++failures) {
    clock.advance(seconds(2));
    CHECK(clock.await_deadline() == seconds(2));
    CHECK(bench.log.size() == 1);
    CHECK(bench.after_restart(kNextBootId) == bench.images.merged());
  }
  clock.advance(seconds(2));
  clock.await_idle();
  CHECK(bench.log.size() == 1);
  CHECK(bench.after_restart(kNextBootId) == read_all(*bench.disk));
}

namespace {

// Has no memory, once, for the next operation of a kind.
class ExhaustedFile final : public ForwardingFile {
 public:
  using ForwardingFile::ForwardingFile;

  void exhaust(FileOperation kind) { next_ = kind; }
  Result<void> write(uint64_t offset, ConstByteSpan bytes) override {
    throw_at(FileOperation::kWrite);
    return file_.write(offset, bytes);
  }
  Result<void> sync() override {
    throw_at(FileOperation::kSync);
    return file_.sync();
  }

 private:
  void throw_at(FileOperation kind) {
    if (next_.load() == kind) {
      next_ = FileOperation::kMap;  // which no flush does
      throw std::bad_alloc();
    }
  }

  std::atomic<FileOperation> next_{FileOperation::kMap};
};

}  // namespace

TEST_CASE("Flush: without memory it throws, and the next one does all of it", "[flush][faults]") {
  const BenchImages& images = BenchImages::of(kBlock);
  for (const bool is_by_itself : {false, true}) {
    const auto upper = images.upper();
    ManualClock clock;
    ExhaustedFile file(*upper);
    const auto disk = open_disk(images.lower(), file, kBootId, clock);
    clock.await_idle();
    expect_success(disk->write(offset_of("lower data"), pattern(1, kBlock)));
    CHECK(clock.await_deadline() == seconds(2));
    file.exhaust(FileOperation::kWrite);
    if (is_by_itself) {
      clock.advance(seconds(2));
      CHECK(clock.await_deadline() == seconds(2));
      clock.advance(seconds(2));
      clock.await_idle();
    } else {
      CHECK_THROWS_AS(disk->flush(), std::bad_alloc);
      expect_success(disk->flush());
    }
    CHECK(read_all(*open_disk(images.lower(), *upper->clone(), kNextBootId)) == read_all(*disk));
  }
}

TEST_CASE("Flush: a sync that throws counts as failed", "[flush][faults]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto upper = images.upper();
  ExhaustedFile file(*upper);
  const auto disk = open_disk(images.lower(), file);
  expect_success(disk->write(offset_of("lower data"), pattern(1, kBlock)));
  file.exhaust(FileOperation::kSync);
  CHECK_THROWS_AS(disk->flush(), std::bad_alloc);
  expect_errno(disk->flush(), EIO);
  CHECK(disk->has_failed());
}
