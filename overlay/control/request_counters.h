// SPDX-License-Identifier: BSD-3-Clause
//
// Counts of requests, for whoever asks later.  Counting is a part of every request, so it
// takes no lock and shares no cache line with what other threads count at that moment.
#ifndef UNIONFS_OVERLAY_CONTROL_REQUEST_COUNTERS_H
#define UNIONFS_OVERLAY_CONTROL_REQUEST_COUNTERS_H

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace unionfs {

enum class RequestKind : uint8_t { kRead, kWrite, kZero, kTrim, kFlush, kExtents, kCache };

constexpr std::array<const char*, 7> kRequestKindNames = {"read",  "write",   "zero", "trim",
                                                          "flush", "extents", "cache"};

// The upper ends of the histograms' buckets but the last, which has none.
constexpr std::array<uint64_t, 17> kLatencyBoundsNanoseconds = {
    10'000,      25'000,      50'000,      100'000,       250'000,       500'000,
    1'000'000,   2'500'000,   5'000'000,   10'000'000,    25'000'000,    50'000'000,
    100'000'000, 250'000'000, 500'000'000, 1'000'000'000, 2'500'000'000,
};

// What was counted of one kind.
struct RequestCounts {
  std::array<uint64_t, kLatencyBoundsNanoseconds.size() + 1> by_latency = {};  // of all requests
  uint64_t errors = 0;
  uint64_t bytes = 0;  // of those without an error
  uint64_t nanoseconds = 0;

  uint64_t requests() const;
};

// Thread-safe.  A sum that is taken while requests are counted may have a part of one.
class RequestCounters {
 public:
  void count(RequestKind kind, uint64_t bytes, bool has_succeeded, std::chrono::nanoseconds took);
  RequestCounts sum_of(RequestKind kind) const;

 private:
  static constexpr size_t kCacheLineBytes = 64;
  // Threads beyond this number share.
  static constexpr size_t kShards = 16;

  struct alignas(kCacheLineBytes) Cell {
    std::array<std::atomic<uint64_t>, kLatencyBoundsNanoseconds.size() + 1> by_latency = {};
    std::atomic<uint64_t> errors{0};
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> nanoseconds{0};
  };
  using Shard = std::array<Cell, kRequestKindNames.size()>;

  Shard& shard_of_thread();

  std::array<Shard, kShards> shards_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_REQUEST_COUNTERS_H
