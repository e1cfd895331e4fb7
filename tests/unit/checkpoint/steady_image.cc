// SPDX-License-Identifier: BSD-3-Clause
//
// Small reads of an image that nobody writes, and how often the image itself is asked.
#include "overlay/checkpoint/steady_image.h"

#include <vector>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/memory_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr uint32_t kBlockBytes = 1024;
constexpr uint64_t kImageBytes = 10 * kBlockBytes + 300;  // the last block is cut

MemoryImage numbered_image() {
  std::vector<std::byte> bytes(kImageBytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(i * 7 + i / 256);
  }
  return {"numbered", std::move(bytes)};
}

// Whether this range of both is the same.
bool is_same(const Image& steady, MemoryImage& image, uint64_t offset, size_t length) {
  std::vector<std::byte> bytes(length);
  expect_success(steady.read(offset, bytes));
  return is_same_bytes(bytes, image.bytes(offset, length));
}

}  // namespace

TEST_CASE("Steady image: parts of one block are one read", "[steady_image]") {
  MemoryImage image = numbered_image();
  const SteadyImage steady(image, kBlockBytes);
  for (uint64_t offset = 0; offset < 3 * kBlockBytes; offset += 128) {
    CHECK(is_same(steady, image, offset, 128));
  }
  CHECK(image.read_count() == 3);
  CHECK(image.read_bytes() == 3 * kBlockBytes);
}

TEST_CASE("Steady image: whole blocks and what crosses blocks pass by", "[steady_image]") {
  MemoryImage image = numbered_image();
  const SteadyImage steady(image, kBlockBytes);
  CHECK(is_same(steady, image, 2 * kBlockBytes, 128));
  CHECK(is_same(steady, image, 5 * kBlockBytes, kBlockBytes));
  CHECK(is_same(steady, image, 4 * kBlockBytes - 10, 20));
  CHECK(is_same(steady, image, 100, 3 * kBlockBytes));
  CHECK(image.read_count() == 4);
  CHECK(is_same(steady, image, 2 * kBlockBytes + 500, 128));  // is still kept
  CHECK(image.read_count() == 4);
}

TEST_CASE("Steady image: the end of the image is where it was", "[steady_image]") {
  MemoryImage image = numbered_image();
  const SteadyImage steady(image, kBlockBytes);
  CHECK(is_same(steady, image, 10 * kBlockBytes + 100, 200));
  std::vector<std::byte> bytes(200);
  expect_error(steady.read(10 * kBlockBytes + 101, bytes), {"outside the image"});
  expect_error(steady.read(UINT64_MAX - 100, bytes), {"outside the image"});
}

TEST_CASE("Steady image: what cannot be read fails alone", "[steady_image]") {
  MemoryImage image = numbered_image();
  const SteadyImage steady(image, kBlockBytes);
  image.fail(kBlockBytes + 512, kBlockBytes + 513);
  CHECK(is_same(steady, image, kBlockBytes, 128));
  std::vector<std::byte> bytes(128);
  CHECK(expect_error(steady.read(kBlockBytes + 512, bytes), {"read at"}) == ErrorKind::kSystem);
  image.fail(0, 0);
  CHECK(is_same(steady, image, kBlockBytes + 512, 128));
}
