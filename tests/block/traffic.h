// SPDX-License-Identifier: BSD-3-Clause
//
// A stream of requests that follows from a seed, made to hit where a block server has its seams.

#ifndef TESTS_BLOCK_TRAFFIC_H
#define TESTS_BLOCK_TRAFFIC_H

#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include "client.h"

namespace blocktest {

// Random numbers that are the same with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t below(std::uint64_t limit) { return limit == 0 ? 0 : engine_() % limit; }
  std::uint64_t between(std::uint64_t lowest, std::uint64_t highest) {
    return lowest + below(highest - lowest + 1);
  }
  bool chance(unsigned percent) { return below(100) < percent; }

 private:
  std::mt19937_64 engine_;
};

// How often each kind of request comes; only the ratios count.
struct TrafficWeights {
  unsigned read = 30;
  unsigned write = 40;
  unsigned write_of_zeros = 3;
  unsigned zero = 8;
  unsigned trim = 6;
  unsigned flush = 3;
  unsigned cache = 3;
  unsigned block_status = 7;
};

class Traffic {
 public:
  // Besides the places it chooses, it often works around the hot offsets.
  Traffic(std::uint64_t seed, const Abilities& abilities, unsigned connection_count,
          const TrafficWeights& weights, const std::vector<std::uint64_t>& hot_offsets_bytes);

  Request next();
  // A write of this length at a random place: to be caught in the middle.
  Request big_write(unsigned connection, std::uint32_t length_bytes);

  static constexpr std::uint32_t longest_request_bytes = 4U << 20;

 private:
  RequestKind pick_kind();
  std::uint32_t pick_length();
  std::uint64_t pick_offset(std::uint32_t length_bytes);
  Request dress(RequestKind kind, std::uint64_t offset_bytes, std::uint32_t length_bytes);
  void plan_burst();

  Random random_;
  Abilities abilities_;
  unsigned connection_count_;
  TrafficWeights weights_;
  std::vector<std::uint64_t> hot_offsets_bytes_;
  std::deque<Request> planned_;
};

}  // namespace blocktest

#endif
