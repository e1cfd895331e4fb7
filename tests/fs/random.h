// SPDX-License-Identifier: BSD-3-Clause
//
// The exercise's source of choices. Own arithmetic, because the distributions of
// the standard library may differ between its implementations, and a seed must
// mean the same series everywhere. For the same reason no expression may draw twice
// where the language leaves the order to the compiler.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fstest {

class Random {
 public:
  // Every operation has its own stream, so that a series can be continued at
  // any operation number.
  Random(std::uint64_t seed, std::uint64_t stream)
      : state_{mix(seed + 0x632be59bd9b4e019) ^ mix(stream * 0x9e3779b97f4a7c15 + 1)} {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15;
    return mix(state_);
  }

  // 0 .. limit - 1; 0 if there is nothing to choose from.
  std::uint64_t below(std::uint64_t limit) { return limit == 0 ? 0 : next() % limit; }

  // Both ends included.
  std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + below(high - low + 1);
  }

  bool percent(unsigned chance) { return below(100) < chance; }

  void fill(void* buffer, std::size_t size_bytes) {
    auto* out = static_cast<unsigned char*>(buffer);
    while (size_bytes > 0) {
      std::uint64_t const word = next();
      std::size_t const part = size_bytes < sizeof word ? size_bytes : sizeof word;
      std::memcpy(out, &word, part);
      out += part;
      size_bytes -= part;
    }
  }

 private:
  static std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
  }

  std::uint64_t state_;
};

}  // namespace fstest
