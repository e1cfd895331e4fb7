// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/metrics_text.h"

#include <fmt/format.h>

#include <array>
#include <iterator>

namespace unionfs {
namespace {

constexpr double kNanosecondsPerSecond = 1e9;

std::string escaped_label(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') {
      escaped += '\\';
    }
    escaped += c;
  }
  return escaped;
}

}  // namespace

void MetricsText::begin(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_ += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
}

void MetricsText::add(uint64_t value) {
  text_ += fmt::format("{} {}\n", name_, value);
}

void MetricsText::add(std::string_view label, std::string_view label_value, uint64_t value) {
  text_ += fmt::format("{}{{{}=\"{}\"}} {}\n", name_, label, escaped_label(label_value), value);
}

void MetricsText::gauge(std::string_view name, std::string_view help, uint64_t value) {
  begin(name, "gauge", help);
  add(value);
}

void MetricsText::gauge_seconds(std::string_view name, std::string_view help, double seconds) {
  begin(name, "gauge", help);
  text_ += fmt::format("{} {:.9f}\n", name_, seconds);
}

void MetricsText::latencies(const char* kind, const RequestCounts& counts) {
  uint64_t requests = 0;
  for (size_t i = 0; i < kLatencyBoundsNanoseconds.size(); ++i) {
    requests += counts.by_latency[i];
    const double bound = static_cast<double>(kLatencyBoundsNanoseconds[i]) / kNanosecondsPerSecond;
    text_ += fmt::format("{}_bucket{{kind=\"{}\",le=\"{}\"}} {}\n", name_, kind, bound, requests);
  }
  requests += counts.by_latency.back();
  text_ += fmt::format(
      "{0}_bucket{{kind=\"{1}\",le=\"+Inf\"}} {2}\n{0}_sum{{kind=\"{1}\"}} {3:.9f}\n"
      "{0}_count{{kind=\"{1}\"}} {2}\n",
      name_, kind, requests, static_cast<double>(counts.nanoseconds) / kNanosecondsPerSecond);
}

void MetricsText::requests(const RequestCounters& counters) {
  std::array<RequestCounts, kRequestKindNames.size()> counts;
  for (size_t kind = 0; kind < counts.size(); ++kind) {
    counts[kind] = counters.sum_of(static_cast<RequestKind>(kind));
  }
  const auto add_all = [&](std::string_view name, std::string_view help, auto number_of) {
    begin(name, "counter", help);
    for (size_t kind = 0; kind < counts.size(); ++kind) {
      add("kind", kRequestKindNames[kind], number_of(counts[kind]));
    }
  };
  add_all("unionfs_requests_total", "Requests of clients that were answered.",
          [](const RequestCounts& of) { return of.requests(); });
  add_all("unionfs_request_errors_total", "Requests that were answered with an error.",
          [](const RequestCounts& of) { return of.errors; });
  add_all("unionfs_request_bytes_total", "Lengths of the requests without an error.",
          [](const RequestCounts& of) { return of.bytes; });
  begin("unionfs_request_seconds", "histogram", "The time of a request in the plugin.");
  for (size_t kind = 0; kind < counts.size(); ++kind) {
    latencies(kRequestKindNames[kind], counts[kind]);
  }
}

}  // namespace unionfs
