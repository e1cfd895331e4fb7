// SPDX-License-Identifier: BSD-3-Clause
//
// What a server with a control socket counts, of all its disks together.
#ifndef UNIONFS_PLUGIN_CONTROL_COUNTS_H
#define UNIONFS_PLUGIN_CONTROL_COUNTS_H

#include <array>
#include <atomic>
#include <chrono>

#include "overlay/control/metrics_text.h"
#include "overlay/control/request_counters.h"
#include "overlay/service/disk_traffic.h"
#include "overlay/service/overlay.h"

namespace unionfs {

// Who had a flush done.
enum class FlushedBy : uint8_t { kClient, kFua, kControl };

// Thread-safe.
class ControlCounts {
 public:
  // `traffic` is that of one disk of many; nullptr: there is but one.
  void count_request(RequestKind kind, uint64_t bytes, bool has_succeeded,
                     std::chrono::nanoseconds took, DiskTraffic* traffic);
  void count_flushes(FlushedBy by, uint64_t count = 1) {
    flushes_[static_cast<size_t>(by)].fetch_add(count, std::memory_order_relaxed);
  }
  void count_snapshot(const Result<SnapshotFigures>& figures);

  void add_requests_and_flushes(MetricsText& metrics) const;
  void add_snapshots(MetricsText& metrics) const;

 private:
  RequestCounters requests_;
  std::array<std::atomic<uint64_t>, 3> flushes_ = {};  // by FlushedBy
  // Of snapshots: how many, and what the last one took.
  std::atomic<uint64_t> snapshots_made_{0};
  std::atomic<uint64_t> snapshots_refused_{0};
  std::atomic<double> snapshot_pause_seconds_{0};
  std::atomic<double> snapshot_flush_seconds_{0};
};

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_CONTROL_COUNTS_H
