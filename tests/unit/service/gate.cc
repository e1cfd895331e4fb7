// SPDX-License-Identifier: BSD-3-Clause
//
// The gate that requests pass: nobody is inside while it is closed, and what passing costs.  Meant
// for the thread sanitizer too.
#include "overlay/service/gate.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <ctime>
#include <functional>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace unionfs;

namespace {

void in_threads(size_t count, const std::function<void(size_t)>& work) {
  std::vector<std::thread> threads;
  for (size_t number = 0; number < count; ++number) {
    threads.emplace_back([&work, number] { work(number); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// Processor time of all threads for each pass, in nanoseconds.
double cost_of(size_t threads, const std::function<void()>& pass) {
  constexpr int kPasses = 300'000;
  const std::clock_t begin = std::clock();
  in_threads(threads, [&](size_t) {
    for (int i = 0; i < kPasses; ++i) {
      pass();
    }
  });
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  return seconds * 1e9 / (static_cast<double>(threads) * kPasses);
}

}  // namespace

// More threads than the gate has slots, so that some share one.
TEST_CASE("Gate: nobody is inside while it is closed", "[gate][threads]") {
  constexpr size_t kPassers = 40;
  constexpr int kPasses = 300;
  Gate gate;
  uint64_t changed_behind_it = 0;  // no atomic: the gate has to order it
  std::atomic<uint64_t> seen{0};
  std::atomic<size_t> passing{kPassers};
  std::atomic<bool> is_good{true};
  std::thread closer([&] {
    while (passing.load() > 0) {
      {
        const Gate::Closed closed(gate);
        ++changed_behind_it;
      }
      std::this_thread::yield();
    }
  });
  in_threads(kPassers, [&](size_t) {
    uint64_t last = 0;
    for (int i = 0; i < kPasses; ++i) {
      const Gate::Pass pass(gate);
      const uint64_t now = changed_behind_it;
      if (now < last || changed_behind_it != now) {
        is_good.store(false);
      }
      last = now;
      seen.fetch_add(1, std::memory_order_relaxed);
    }
    passing.fetch_sub(1);
  });
  closer.join();
  CHECK(is_good.load());
  CHECK(seen.load() == kPassers * kPasses);
  CHECK(changed_behind_it > 0);
}

// For docs/stacks.md: unit-threads '[gate_figures]', in a build with optimization.
TEST_CASE("Gate: what passing costs", "[.gate_figures]") {
  std::atomic<uint64_t> one_counter{0};
  std::shared_mutex shared;
  Gate gate;
  for (const size_t threads : {1, 4, 16}) {
    const double counter = cost_of(threads, [&] {
      one_counter.fetch_add(1);
      one_counter.fetch_sub(1);
    });
    const double lock =
        cost_of(threads, [&] { const std::shared_lock<std::shared_mutex> guard(shared); });
    const double none = cost_of(threads, [] {});
    const double passed = cost_of(threads, [&] { const Gate::Pass pass(gate); });
    WARN(threads << " threads, ns of processor time for each: the gate " << passed - none
                 << ", one shared counter " << counter - none << ", a shared mutex "
                 << lock - none);
    CHECK(passed > 0);
  }
}
