// SPDX-License-Identifier: BSD-3-Clause
//
// A stage: bytes that are replaced, by others or by those of another place.
#include "overlay/host/staged_file.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr size_t kSize = 100000;

std::vector<std::byte> read_stage(const StagedFile& stage, uint64_t offset, size_t length) {
  std::vector<std::byte> bytes(length);
  expect_success(stage.read(offset, bytes));
  return bytes;
}

}  // namespace

TEST_CASE("Staged file: any sequence of changes reads as a plain copy", "[staged_file]") {
  std::mt19937_64 random(test_seed("a staged file"));
  MemoryFile base("base.img");
  expect_success(base.resize(kSize));
  std::vector<std::byte> expected = pattern(1, kSize);
  base.poke(0, expected);
  const std::vector<std::byte> original = expected;
  StagedFile stage(base);
  for (size_t offset = random() % 3000; offset + 5000 < kSize; offset += random() % 3000) {
    const size_t length = 1 + random() % 5000;
    const size_t source = random() % (kSize - length);
    const auto place = expected.begin() + static_cast<ptrdiff_t>(offset);
    if (random() % 4 == 0) {
      stage.show_zeros(offset, length);
      std::fill_n(place, length, std::byte{0});
    } else {
      stage.show(offset, length, source);
      std::copy_n(original.begin() + static_cast<ptrdiff_t>(source), length, place);
    }
    offset += length;
  }
  CHECK(read_stage(stage, 0, kSize) == expected);
  for (uint64_t i = 0; i < 20; ++i) {
    const size_t length = 1 + random() % 3000;
    const size_t offset = random() % (kSize - length);
    const std::vector<std::byte> bytes = pattern(i + 2, length);
    expect_success(stage.write(offset, bytes));
    std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<ptrdiff_t>(offset));
  }
  for (int i = 0; i < 200; ++i) {
    const size_t length = 1 + random() % 5000;
    const size_t offset = random() % (kSize - length);
    const auto from = expected.begin() + static_cast<ptrdiff_t>(offset);
    CHECK(read_stage(stage, offset, length) ==
          std::vector<std::byte>(from, from + static_cast<ptrdiff_t>(length)));
  }
  std::vector<std::byte> unchanged(kSize);
  expect_success(base.peek(0, unchanged));
  CHECK(unchanged == original);
}

TEST_CASE("Staged file: past the end of its file it is zeros", "[staged_file]") {
  MemoryFile base("base.img");
  expect_success(base.resize(3000));
  const std::vector<std::byte> bytes = pattern(1, 3000);
  base.poke(0, bytes);
  StagedFile stage(base);
  stage.resize(10000);
  stage.show(5000, 1000, 2000);
  std::vector<std::byte> expected(10000);
  std::copy(bytes.begin(), bytes.end(), expected.begin());
  std::copy(bytes.begin() + 2000, bytes.end(), expected.begin() + 5000);
  CHECK(read_stage(stage, 0, 10000) == expected);
  std::vector<std::byte> more(1001);
  expect_error(stage.read(9000, more), {"base.img", "past its end"});
}
