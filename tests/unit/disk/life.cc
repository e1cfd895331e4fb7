// SPDX-License-Identifier: BSD-3-Clause
//
// How a disk begins and ends: what loading does not do, what the next server
// believes, and a session that could not begin.
#include <algorithm>

#include "tests/unit/session/session_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlock = 4096;

uint64_t offset_of(const std::string& place) {
  return BenchImages::of(kBlock).place(place).value() * kBlock;
}

}  // namespace

TEST_CASE("Disk: loading and reading write nothing", "[disk]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto upper = images.upper();
  {
    const auto disk = open_disk(images.lower(), *upper);
    expect_success(disk->write(0, pattern(1, 100)));
  }
  const std::vector<std::byte> before = [&] {
    std::vector<std::byte> bytes(upper->size_bytes());
    expect_success(upper->peek(0, bytes));
    return bytes;
  }();
  for (const char* boot_id : {kBootId, kNextBootId}) {
    upper->reset_counts();
    const auto disk = load_disk(images.lower(), *upper, boot_id);
    expect_success(disk->attach(Access::kReadOnly));
    (void)read_all(*disk);
    expect_success(disk->close());
    for (const FileOperation kind :
         {FileOperation::kWrite, FileOperation::kPunch, FileOperation::kZeroRange,
          FileOperation::kAllocate, FileOperation::kResize}) {
      CHECK(upper->count(kind) == 0);
    }
    std::vector<std::byte> after(upper->size_bytes());
    expect_success(upper->peek(0, after));
    CHECK(after == before);
  }
}

TEST_CASE("Disk: a reader sees what is live in this boot, what is durable in the next", "[disk]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto upper = images.upper();
  const uint64_t offset = offset_of("lower data");
  {
    const auto disk = open_disk(images.lower(), *upper);
    expect_success(disk->write(offset, pattern(1, kBlock)));
    expect_success(disk->flush());
    expect_success(disk->write(offset + 10 * kBlock, pattern(2, kBlock)));
  }
  const auto now = load_disk(images.lower(), *upper, kBootId);
  expect_success(now->attach(Access::kReadOnly));
  CHECK(read_range(*now, offset, kBlock) == pattern(1, kBlock));
  CHECK(read_range(*now, offset + 10 * kBlock, kBlock) == pattern(2, kBlock));
  const auto later = load_disk(images.lower(), *upper, kNextBootId);
  expect_success(later->attach(Access::kReadOnly));
  CHECK(read_range(*later, offset, kBlock) == pattern(1, kBlock));
  CHECK(read_range(*later, offset + 10 * kBlock, kBlock) != pattern(2, kBlock));
  // A reader that comes first does not stop a writer, and sees what it does.
  expect_success(now->attach(Access::kReadWrite));
  expect_success(now->write(offset + 20 * kBlock, pattern(3, kBlock)));
  CHECK(read_range(*now, offset + 20 * kBlock, kBlock) == pattern(3, kBlock));
}

TEST_CASE("Disk: the live bitmap is believed in its own file, and not in a copy", "[disk]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const uint64_t flushed = offset_of("lower data");
  const uint64_t acknowledged = flushed + 10 * kBlock;
  const auto has_acknowledged = [&](const MemoryFile& left, const FileIdentity& identity) {
    const auto upper = left.clone();
    upper->set_identity(identity);
    const auto disk = load_disk(images.lower(), *upper);
    expect_success(disk->attach(Access::kReadOnly));
    CHECK(read_range(*disk, flushed, kBlock) == pattern(1, kBlock));
    const bool is_seen = read_range(*disk, acknowledged, kBlock) == pattern(2, kBlock);
    expect_success(disk->attach(Access::kReadWrite));
    CHECK((read_range(*disk, acknowledged, kBlock) == pattern(2, kBlock)) == is_seen);
    CHECK(((disk->state_area().flags & upper_format::kFlagUnproven) != 0) == !is_seen);
    return is_seen;
  };
  const auto write_both = [&](MemoryFile& upper) {
    const auto disk = open_disk(images.lower(), upper);
    expect_success(disk->write(flushed, pattern(1, kBlock)));
    expect_success(disk->flush());
    expect_success(disk->write(acknowledged, pattern(2, kBlock)));
  };
  const FileIdentity identity{7, 12, 1000};
  const auto upper = images.upper();
  upper->set_identity(identity);
  write_both(*upper);
  CHECK(has_acknowledged(*upper, identity));
  CHECK_FALSE(has_acknowledged(*upper, {8, 12, 1000}));  // another file system
  CHECK_FALSE(has_acknowledged(*upper, {7, 13, 1000}));  // another file
  CHECK_FALSE(has_acknowledged(*upper, {7, 12, 1001}));  // another file in the place of this one

  // A server of a program that did not know of identities was killed.
  const auto old = images.upper();
  write_both(*old);
  CHECK(has_acknowledged(*old, identity));
}

TEST_CASE("Disk: a session that could not begin is no session, and the next client begins it",
          "[disk][faults]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto with_session = images.upper();
  const auto written = pattern(5, kBlock);
  const uint64_t place = offset_of("lower data");
  {
    const auto disk = open_disk(images.lower(), *with_session);
    expect_success(disk->write(place, written));
    expect_success(disk->flush());  // and the server dies
  }
  for (const FileOperation kind :
       {FileOperation::kRead, FileOperation::kWrite, FileOperation::kSync}) {
    for (uint64_t number = 1; number < 40; ++number) {
      INFO("operation " << static_cast<int>(kind) << ", the " << number << "th fails");
      const auto upper = with_session->clone();
      FaultyFile faulty(*upper);
      const auto disk = load_disk(images.lower(), faulty);
      faulty.fail(kind, number, EIO);
      const Result<void> first = disk->attach(Access::kReadWrite);
      CHECK(disk->has_session() == first.has_value());
      faulty.fail(kind, 1000000, EIO);  // not any more
      expect_success(disk->flush());
      expect_success(disk->attach(Access::kReadWrite));
      CHECK(disk->has_session());
      CHECK(read_range(*disk, place, kBlock) == written);
      expect_success(disk->write(place + kBlock, written));
      expect_success(disk->close());
      CHECK(read_range(*open_disk(images.lower(), *upper->clone(), kNextBootId), place, kBlock) ==
            written);
      if (first) {
        break;
      }
    }
  }
}

TEST_CASE("Disk: a journal that was never committed is cut off", "[disk]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto upper = images.upper();
  const uint64_t size_bytes = upper->size_bytes();
  expect_success(upper->resize(size_bytes + 10 * kBlock));
  { const auto disk = load_disk(images.lower(), *upper); }
  CHECK(upper->size_bytes() == size_bytes + 10 * kBlock);  // loading writes nothing
  const auto disk = open_disk(images.lower(), *upper);
  CHECK(upper->size_bytes() == size_bytes);
}

TEST_CASE("Disk: the header remembers how the session ended", "[disk]") {
  const BenchImages& images = BenchImages::of(kBlock);
  const auto upper = images.upper();
  const auto flags = [&](const std::string& boot_id) {
    return load_disk(images.lower(), *upper, boot_id)->state_area().flags;
  };
  CHECK(flags(kBootId) == 0);
  {
    const auto disk = open_disk(images.lower(), *upper);
    CHECK(flags(kBootId) == upper_format::kFlagInUse);
    expect_success(disk->write(offset_of("zeros"), pattern(1, kBlock)));
    expect_success(disk->close());
  }
  CHECK(flags(kBootId) == 0);
  {
    const auto disk = open_disk(images.lower(), *upper, kNextBootId);  // after an orderly end
    expect_success(disk->flush());
  }
  CHECK(flags(kNextBootId) == upper_format::kFlagInUse);
  (void)open_disk(images.lower(), *upper, kNextBootId);  // the process died, the live bits count
  CHECK(flags(kNextBootId) == upper_format::kFlagInUse);
  (void)open_disk(images.lower(), *upper, kBootId);  // the power was lost
  CHECK(flags(kBootId) == (upper_format::kFlagInUse | upper_format::kFlagUnproven));
}
