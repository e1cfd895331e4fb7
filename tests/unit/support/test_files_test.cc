// SPDX-License-Identifier: BSD-3-Clause
//
// The stand-ins themselves: a test that rests on them is worth what they are.
#include <cstring>
#include <set>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/power_loss_file.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::vector<std::byte> filled(size_t count, uint8_t value) {
  return std::vector<std::byte>(count, std::byte{value});
}

uint8_t byte_at(const ReadableFile& file, uint64_t offset) {
  std::array<std::byte, 1> byte;
  expect_success(file.read(offset, byte));
  return static_cast<uint8_t>(byte[0]);
}

std::unique_ptr<MemoryFile> empty_file(uint64_t size_bytes) {
  auto file = std::make_unique<MemoryFile>("file", 1 << 20);
  expect_success(file->resize(size_bytes));
  return file;
}

}  // namespace

TEST_CASE("A file in memory tells holes from data", "[test_files]") {
  const auto file = empty_file(65536);
  CHECK(file->extent_at(0).is_hole);
  CHECK(file->extent_at(0).end == 65536);
  expect_success(file->write(5000, filled(100, 7)));
  CHECK(file->extent_at(0).end == 4096);
  CHECK_FALSE(file->extent_at(4096).is_hole);
  CHECK(file->extent_at(4096).end == 8192);
  CHECK(byte_at(*file, 5099) == 7);
  CHECK(byte_at(*file, 5100) == 0);

  expect_success(file->allocate(8192, 4096));
  CHECK(file->extent_at(8192).is_hole);
  CHECK(file->is_allocated(8192));
  expect_success(file->zero_range(4096, 4096));
  CHECK(byte_at(*file, 5000) == 0);
  CHECK(file->extent_at(4096).is_hole);
  CHECK(file->is_allocated(4096));
  expect_success(file->write(4096, filled(4096, 9)));
  expect_success(file->punch(4096, 100));
  CHECK(byte_at(*file, 4195) == 0);
  CHECK(byte_at(*file, 4196) == 9);
  CHECK(file->is_allocated(4096));
  expect_success(file->punch(4096, 4096));
  CHECK_FALSE(file->is_allocated(4096));
  CHECK(byte_at(*file, 5000) == 0);
  CHECK(file->count(FileOperation::kPunch) == 2);
  CHECK(file->allocated_bytes() == 4096);
}

TEST_CASE("A file in memory can run full", "[test_files]") {
  const auto file = empty_file(65536);
  file->set_free_pages(2);
  const Result<void> result = file->write(0, filled(3 * 4096, 1));
  REQUIRE_FALSE(result);
  CHECK(result.error().error_number == ENOSPC);
  CHECK(byte_at(*file, 8191) == 1);
  CHECK(byte_at(*file, 8192) == 0);
  expect_success(file->write(4096, filled(100, 2)));  // has its space already
  expect_success(file->punch(0, 4096));
  expect_success(file->write(8192, filled(4096, 1)));
  CHECK_FALSE(file->allocate(12288, 1));
}

TEST_CASE("A mapped region is the file's own memory", "[test_files]") {
  const auto file = empty_file(65536);
  const auto region = value_of(file->map(8192, 8192));
  expect_success(file->write(8200, filled(1, 5)));
  CHECK(region->bytes()[8] == std::byte{5});
  CHECK_FALSE(file->has_store_without_space());
  region->bytes()[4096] = std::byte{6};
  CHECK(byte_at(*file, 12288) == 6);
  CHECK(file->has_store_without_space());
  CHECK_FALSE(file->extent_at(12288).is_hole);
  CHECK_FALSE(file->map(1, 4096));
}

TEST_CASE("A faulty file fails what it is told to", "[test_files]") {
  const auto file = empty_file(65536);
  FaultyFile faulty(*file);
  faulty.fail(FileOperation::kWrite, 2, EDQUOT);
  expect_success(faulty.write(0, filled(10, 1)));
  const Result<void> second = faulty.write(0, filled(10, 2));
  REQUIRE_FALSE(second);
  CHECK(second.error().error_number == EDQUOT);
  CHECK(byte_at(*file, 0) == 1);
  expect_success(faulty.write(0, filled(10, 3)));
  faulty.fail(FileOperation::kSync, 1, EIO, 1);
  CHECK_FALSE(faulty.sync());
  CHECK_FALSE(faulty.sync());
  expect_success(faulty.sync());
}

TEST_CASE("A power loss leaves any value since the last sync in each sector", "[test_files]") {
  PowerLossFile file(empty_file(65536));
  expect_success(file.write(0, filled(2048, 1)));
  expect_success(file.sync());
  CHECK(file.open_sectors() == 0);
  expect_success(file.write(512, filled(1024, 2)));  // sectors 1 and 2
  expect_success(file.write(600, filled(10, 3)));    // a part of sector 1
  expect_success(file.punch(1536, 512));             // sector 3
  CHECK(file.open_sectors() == 3);

  std::set<std::vector<uint8_t>> seen;
  EveryChooser chooser;
  do {
    const auto left = file.lose_power(chooser);
    seen.insert({byte_at(*left, 0), byte_at(*left, 512), byte_at(*left, 600), byte_at(*left, 1024),
                 byte_at(*left, 1536)});
  } while (chooser.next());
  std::set<std::vector<uint8_t>> expected;
  for (const auto& [first, second] :
       {std::pair<uint8_t, uint8_t>{1, 1}, std::pair<uint8_t, uint8_t>{2, 2},
        std::pair<uint8_t, uint8_t>{2, 3}}) {
    for (const uint8_t third : {uint8_t{1}, uint8_t{2}}) {
      for (const uint8_t fourth : {uint8_t{1}, uint8_t{0}}) {
        expected.insert({1, first, second, third, fourth});
      }
    }
  }
  CHECK(seen == expected);
}

TEST_CASE("A power loss takes mapped stores or leaves them", "[test_files]") {
  PowerLossFile file(empty_file(65536));
  {
    const auto region = value_of(file.map(4096, 4096));
    region->bytes()[0] = std::byte{1};
    expect_success(file.sync());
    region->bytes()[0] = std::byte{2};
    region->bytes()[512] = std::byte{3};
    file.crash_after(1);
    CHECK_FALSE(file.write(0, filled(1, 9)));
    CHECK(file.has_crashed());
    CHECK_FALSE(file.sync());
    region->bytes()[1024] = std::byte{4};  // after the crash: never happened
  }
  std::set<std::vector<uint8_t>> seen;
  EveryChooser chooser;
  do {
    const auto left = file.lose_power(chooser);
    seen.insert({byte_at(*left, 0), byte_at(*left, 4096), byte_at(*left, 4608)});
    CHECK(byte_at(*left, 5120) == 0);
  } while (chooser.next());
  CHECK(seen.size() == 8);

  file.restart();  // as after the death of the process alone
  CHECK(byte_at(file, 0) == 9);
  CHECK(byte_at(file, 4096) == 2);
  CHECK(byte_at(file, 4608) == 3);
  CHECK(byte_at(file, 5120) == 0);
  CHECK(file.open_sectors() == 3);
  expect_success(file.sync());
  CHECK(file.open_sectors() == 0);
}

TEST_CASE("A crash in a sync keeps everything open", "[test_files]") {
  PowerLossFile file(empty_file(4096));
  expect_success(file.write(0, filled(512, 1)));
  file.crash_after(1);
  CHECK_FALSE(file.sync());
  CHECK(file.open_sectors() == 1);
}
