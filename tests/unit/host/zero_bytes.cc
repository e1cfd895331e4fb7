// SPDX-License-Identifier: BSD-3-Clause
//
// Zeros, whatever the host can do.
#include "overlay/host/zero_bytes.h"

#include <vector>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/test_files.h"

using namespace unionfs;
using namespace unionfs::testing;

TEST_CASE("Zero bytes: each way on each host", "[zero_bytes]") {
  constexpr uint64_t kPage = MemoryFile::kPageBytes;
  for (const bool can_punch : {false, true}) {
    for (const bool can_zero : {false, true}) {
      for (const ZeroWay way : {ZeroWay::kPunch, ZeroWay::kAllocated, ZeroWay::kWrite}) {
        INFO("punch " << can_punch << ", zero " << can_zero << ", way " << static_cast<int>(way));
        // Pages 1 and 4 have data, the others none.
        MemoryFile file("file", 8 * kPage);
        expect_success(file.resize(8 * kPage));
        const std::vector<std::byte> data(kPage, std::byte{7});
        expect_success(file.write(kPage, data));
        expect_success(file.write(4 * kPage, data));
        file.abilities().punch = can_punch;
        file.abilities().zero_range = can_zero;

        expect_success(zero_bytes(file, kPage + 100, 5 * kPage, way));
        std::vector<std::byte> bytes(8 * kPage);
        expect_success(file.read(0, bytes));
        std::vector<std::byte> wanted(8 * kPage);
        std::fill_n(wanted.begin() + kPage, 100, std::byte{7});
        CHECK(bytes == wanted);
        // Page 1 keeps its space for its first bytes.
        const uint64_t pages = way != ZeroWay::kPunch ? 6 : (can_punch ? 1 : 2);
        CHECK(file.allocated_bytes() == pages * kPage);
        expect_success(zero_bytes(file, 8 * kPage, 0, way));
      }
    }
  }
}

TEST_CASE("Zero bytes: an error of the host is not a missing way", "[zero_bytes]") {
  MemoryFile memory("file", 65536);
  expect_success(memory.resize(65536));
  FaultyFile file(memory);
  file.fail(FileOperation::kPunch, 1, EIO);
  CHECK(zero_bytes(file, 0, 4096, ZeroWay::kPunch).error().error_number == EIO);
  file.fail(FileOperation::kZeroRange, 1, ENOSPC);
  CHECK(zero_bytes(file, 0, 4096, ZeroWay::kAllocated).error().error_number == ENOSPC);
  CHECK(memory.allocated_bytes() == 0);
}
