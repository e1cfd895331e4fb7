// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/request_counters.h"

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "overlay/control/metrics_text.h"

namespace unionfs {
namespace {

using std::chrono::nanoseconds;

// The value of the sample that begins so.
std::string sample(const std::string& text, const std::string& name) {
  const size_t begin = text.find("\n" + name + " ");
  REQUIRE(begin != std::string::npos);
  const size_t value = begin + name.size() + 2;
  return text.substr(value, text.find('\n', value) - value);
}

}  // namespace

TEST_CASE("threads that count at once lose nothing", "[request_counters]") {
  constexpr unsigned kThreads = 40;  // more than there are shards
  constexpr unsigned kEach = 5000;
  RequestCounters counters;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&counters, i] {
      for (unsigned j = 0; j < kEach; ++j) {
        counters.count(RequestKind::kRead, 10, j % 5 != 0, nanoseconds(i));
        counters.count(RequestKind::kFlush, 0, true, nanoseconds(1));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  const RequestCounts reads = counters.sum_of(RequestKind::kRead);
  CHECK(reads.requests() == kThreads * kEach);
  CHECK(reads.errors == kThreads * kEach / 5);
  CHECK(reads.bytes == uint64_t{kThreads} * kEach / 5 * 4 * 10);
  CHECK(reads.nanoseconds == uint64_t{kEach} * kThreads * (kThreads - 1) / 2);
  CHECK(counters.sum_of(RequestKind::kFlush).requests() == kThreads * kEach);
  CHECK(counters.sum_of(RequestKind::kWrite).requests() == 0);
}

TEST_CASE("a time is in the bucket that it does not exceed", "[request_counters]") {
  RequestCounters counters;
  for (const int64_t time : {int64_t{-5}, int64_t{0}, int64_t{10'000}, int64_t{10'001},
                             int64_t{2'500'000'000}, int64_t{2'500'000'001}}) {
    counters.count(RequestKind::kTrim, 1, true, nanoseconds(time));
  }
  const RequestCounts trims = counters.sum_of(RequestKind::kTrim);
  CHECK(trims.by_latency[0] == 3);
  CHECK(trims.by_latency[1] == 1);
  CHECK(trims.by_latency[trims.by_latency.size() - 2] == 1);
  CHECK(trims.by_latency.back() == 1);
}

TEST_CASE("metrics are what Prometheus reads", "[request_counters]") {
  RequestCounters counters;
  counters.count(RequestKind::kWrite, 4096, true, nanoseconds(20'000));
  counters.count(RequestKind::kWrite, 4096, false, nanoseconds(3'000'000'000));
  MetricsText metrics;
  metrics.gauge("unionfs_clients", "Connections.", 3);
  metrics.requests(counters);
  const std::string& text = metrics.text();
  CHECK(
      text.starts_with("# HELP unionfs_clients Connections.\n# TYPE unionfs_clients gauge\n"
                       "unionfs_clients 3\n# HELP "));
  CHECK(sample(text, "unionfs_requests_total{kind=\"write\"}") == "2");
  CHECK(sample(text, "unionfs_requests_total{kind=\"cache\"}") == "0");
  CHECK(sample(text, "unionfs_request_errors_total{kind=\"write\"}") == "1");
  CHECK(sample(text, "unionfs_request_bytes_total{kind=\"write\"}") == "4096");
  const std::string histogram = "unionfs_request_seconds";
  CHECK(sample(text, histogram + "_bucket{kind=\"write\",le=\"1e-05\"}") == "0");
  CHECK(sample(text, histogram + "_bucket{kind=\"write\",le=\"2.5e-05\"}") == "1");
  CHECK(sample(text, histogram + "_bucket{kind=\"write\",le=\"2.5\"}") == "1");
  CHECK(sample(text, histogram + "_bucket{kind=\"write\",le=\"+Inf\"}") == "2");
  CHECK(sample(text, histogram + "_sum{kind=\"write\"}") == "3.000020000");
  CHECK(sample(text, histogram + "_count{kind=\"write\"}") == "2");
}

}  // namespace unionfs
