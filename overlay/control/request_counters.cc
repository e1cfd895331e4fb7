// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/request_counters.h"

#include <algorithm>
#include <numeric>

namespace unionfs {
namespace {

void add_to(std::atomic<uint64_t>& counter, uint64_t number) {
  counter.fetch_add(number, std::memory_order_relaxed);
}

// An end belongs to the bucket that it ends.
size_t bucket_of(uint64_t nanoseconds) {
  const auto& bounds = kLatencyBoundsNanoseconds;
  return static_cast<size_t>(std::lower_bound(bounds.begin(), bounds.end(), nanoseconds) -
                             bounds.begin());
}

}  // namespace

uint64_t RequestCounts::requests() const {
  return std::accumulate(by_latency.begin(), by_latency.end(), uint64_t{0});
}

RequestCounters::Shard& RequestCounters::shard_of_thread() {
  static std::atomic<size_t> threads{0};
  thread_local const size_t thread = threads.fetch_add(1, std::memory_order_relaxed);
  return shards_[thread % kShards];
}

void RequestCounters::count(RequestKind kind, uint64_t bytes, bool has_succeeded,
                            std::chrono::nanoseconds took) {
  Cell& cell = shard_of_thread()[static_cast<size_t>(kind)];
  const auto nanoseconds = static_cast<uint64_t>(std::max<int64_t>(took.count(), 0));
  add_to(cell.by_latency[bucket_of(nanoseconds)], 1);
  add_to(cell.nanoseconds, nanoseconds);
  add_to(has_succeeded ? cell.bytes : cell.errors, has_succeeded ? bytes : 1);
}

RequestCounts RequestCounters::sum_of(RequestKind kind) const {
  RequestCounts sum;
  for (const Shard& shard : shards_) {
    const Cell& cell = shard[static_cast<size_t>(kind)];
    for (size_t i = 0; i < sum.by_latency.size(); ++i) {
      sum.by_latency[i] += cell.by_latency[i].load(std::memory_order_relaxed);
    }
    sum.errors += cell.errors.load(std::memory_order_relaxed);
    sum.bytes += cell.bytes.load(std::memory_order_relaxed);
    sum.nanoseconds += cell.nanoseconds.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace unionfs
