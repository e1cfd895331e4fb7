// SPDX-License-Identifier: BSD-3-Clause
//
// Metrics in the text format of Prometheus, version 0.0.4.
#ifndef UNIONFS_OVERLAY_CONTROL_METRICS_TEXT_H
#define UNIONFS_OVERLAY_CONTROL_METRICS_TEXT_H

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "overlay/control/request_counters.h"

namespace unionfs {

// Not thread-safe.  Names and labels are ours, so they are not checked; what labels say is escaped.
class MetricsText {
 public:
  // Begins a metric; its samples follow.  `type` is counter, gauge or histogram.
  void begin(std::string_view name, std::string_view type, std::string_view help);
  void add(uint64_t value);
  // With one label.
  void add(std::string_view label, std::string_view label_value, uint64_t value);

  // A metric of one sample.
  void gauge(std::string_view name, std::string_view help, uint64_t value);
  void gauge_seconds(std::string_view name, std::string_view help, double seconds);
  // The four metrics of requests.
  void requests(const RequestCounters& counters);

  const std::string& text() const { return text_; }

 private:
  void latencies(const char* kind, const RequestCounts& counts);

  std::string name_;
  std::string text_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_METRICS_TEXT_H
