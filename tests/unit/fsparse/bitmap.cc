// SPDX-License-Identifier: BSD-3-Clause
#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

#include "fsparse/bitmap.h"
#include "fsparse/result.h"

namespace unionfs {
namespace {

constexpr uint64_t constant_expressions() {
  std::array<std::byte, 16> bits = {};
  set_bits(bits, 3, 77);
  clear_bit(bits, 10);
  set_bit(bits, 100);
  clear_bits(bits, 60, 66);
  return count_bits(bits, 0, 128) * 1000 + find_clear_bit(bits, 3, 128);
}
static_assert(constant_expressions() == (74 - 1 + 1 - 6) * 1000 + 10);

// The same bits, one by one.
struct Model {
  std::vector<std::byte> bytes;
  std::vector<bool> bits;

  explicit Model(size_t size_bytes) : bytes(size_bytes), bits(size_bytes * 8) {}

  uint64_t count(uint64_t begin, uint64_t end) const {
    uint64_t result = 0;
    for (uint64_t i = begin; i < end; ++i) {
      result += bits[i] ? 1 : 0;
    }
    return result;
  }
  uint64_t find(uint64_t begin, uint64_t end, bool value) const {
    while (begin < end && bits[begin] != value) {
      ++begin;
    }
    return begin;
  }
  void fill(uint64_t begin, uint64_t end, bool value) {
    for (uint64_t i = begin; i < end; ++i) {
      bits[i] = value;
    }
    value ? set_bits(bytes, begin, end) : clear_bits(bytes, begin, end);
  }
};

}  // namespace

TEST_CASE("bit n is bit n % 8 of byte n / 8", "[fsparse][bitmap]") {
  std::array<std::byte, 4> bits = {};
  set_bit(bits, 0);
  set_bit(bits, 9);
  set_bit(bits, 31);
  CHECK(bits ==
        std::array<std::byte, 4>{std::byte{1}, std::byte{2}, std::byte{0}, std::byte{0x80}});
  CHECK(test_bit(bits, 9));
  CHECK_FALSE(test_bit(bits, 8));
  clear_bit(bits, 9);
  CHECK_FALSE(test_bit(bits, 9));
  CHECK(find_set_bit(bits, 1, 32) == 31);
  CHECK(find_set_bit(bits, 1, 31) == 31);  // none: the end
}

TEST_CASE("empty ranges are allowed everywhere", "[fsparse][bitmap]") {
  std::array<std::byte, 3> bits = {};
  set_bits(bits, 24, 24);
  clear_bits(bits, 24, 24);
  CHECK(count_bits(bits, 24, 24) == 0);
  CHECK(find_set_bit(bits, 24, 24) == 24);
  CHECK(find_clear_bit({}, 0, 0) == 0);
}

TEST_CASE("every range of a short bitmap is filled, counted and searched", "[fsparse][bitmap]") {
  constexpr uint64_t kBits = 19 * 8;  // two words and a part of one
  for (uint64_t begin = 0; begin <= kBits; ++begin) {
    for (uint64_t end = begin; end <= kBits; ++end) {
      Model model(kBits / 8);
      model.fill(begin, end, true);
      const bool is_right = count_bits(model.bytes, 0, kBits) == end - begin &&
                            count_bits(model.bytes, begin, end) == end - begin &&
                            find_set_bit(model.bytes, 0, kBits) == model.find(0, kBits, true) &&
                            find_clear_bit(model.bytes, begin, kBits) == end;
      if (!is_right) {
        FAIL("range " << begin << " to " << end);
      }
      model.fill(begin, end, false);
      REQUIRE(count_bits(model.bytes, 0, kBits) == 0);
    }
  }
}

TEST_CASE("each set bit is visited, until the visitor has an error", "[fsparse][bitmap]") {
  const std::array<std::byte, 3> bits = {std::byte{0x81}, std::byte{0}, std::byte{0x41}};
  std::vector<uint64_t> seen;
  for_each_set_bit(bits, 22, [&](uint64_t bit) { seen.push_back(bit); });
  CHECK(seen == std::vector<uint64_t>{0, 7, 16});  // 22 is past the end
  seen.clear();
  const Result<void> ended = for_each_set_bit(bits, 24, [&](uint64_t bit) -> Result<void> {
    seen.push_back(bit);
    return bit == 7 ? Result<void>(corrupt("bit {}", bit)) : Result<void>();
  });
  REQUIRE_FALSE(ended);
  CHECK(ended.error().message == "bit 7");
  CHECK(seen == std::vector<uint64_t>{0, 7});
  for_each_set_bit({}, 24, [](uint64_t) { FAIL("no bytes have no bits"); });
}

TEST_CASE("random bitmaps agree with one bit at a time", "[fsparse][bitmap]") {
  const uint32_t seed = Catch::rngSeed();
  INFO("replay with --rng-seed " << seed);
  std::mt19937_64 random(seed);
  for (const size_t size_bytes : {1, 7, 8, 9, 64, 1023, 1024}) {
    Model model(size_bytes);
    const uint64_t bit_count = size_bytes * 8;
    for (int round = 0; round < 200; ++round) {
      uint64_t begin = random() % (bit_count + 1);
      uint64_t end = random() % (bit_count + 1);
      if (begin > end) {
        std::swap(begin, end);
      }
      const bool value = random() % 2 == 0;
      INFO("size " << size_bytes << " round " << round << " range " << begin << " to " << end);
      // Short runs most of the time, or everything soon is one value.
      model.fill(begin, std::min(end, begin + random() % 80), value);
      REQUIRE(count_bits(model.bytes, begin, end) == model.count(begin, end));
      REQUIRE(find_set_bit(model.bytes, begin, end) == model.find(begin, end, true));
      REQUIRE(find_clear_bit(model.bytes, begin, end) == model.find(begin, end, false));
      if (begin < bit_count) {
        REQUIRE(test_bit(model.bytes, begin) == model.bits[begin]);
      }
    }
  }
}

}  // namespace unionfs
