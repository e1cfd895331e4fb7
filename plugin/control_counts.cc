// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/control_counts.h"

namespace unionfs {

void ControlCounts::count_request(RequestKind kind, uint64_t bytes, bool has_succeeded,
                                  std::chrono::nanoseconds took, DiskTraffic* traffic) {
  requests_.count(kind, bytes, has_succeeded, took);
  if (traffic == nullptr) {
    return;
  }
  if (kind == RequestKind::kRead) {
    traffic->count_read(bytes, has_succeeded);
  } else if (kind == RequestKind::kWrite) {
    traffic->count_write(bytes, has_succeeded);
  }
  if (!has_succeeded) {
    traffic->count_error();
  }
}

void ControlCounts::count_snapshot(const Result<SnapshotFigures>& figures) {
  if (!figures) {
    snapshots_refused_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  snapshots_made_.fetch_add(1, std::memory_order_relaxed);
  snapshot_pause_seconds_.store(figures->pause_seconds, std::memory_order_relaxed);
  snapshot_flush_seconds_.store(figures->flush_seconds, std::memory_order_relaxed);
}

void ControlCounts::add_requests_and_flushes(MetricsText& metrics) const {
  const auto flushes_by = [this](FlushedBy by) {
    return flushes_[static_cast<size_t>(by)].load(std::memory_order_relaxed);
  };
  metrics.requests(requests_);
  metrics.begin("unionfs_flushes_total", "counter", "Flushes that were done.");
  metrics.add("by", "client", flushes_by(FlushedBy::kClient));
  metrics.add("by", "fua", flushes_by(FlushedBy::kFua));
  metrics.add("by", "control", flushes_by(FlushedBy::kControl));
}

void ControlCounts::add_snapshots(MetricsText& metrics) const {
  metrics.begin("unionfs_snapshots_total", "counter", "Snapshots, by what became of them.");
  metrics.add("result", "made", snapshots_made_.load(std::memory_order_relaxed));
  metrics.add("result", "refused", snapshots_refused_.load(std::memory_order_relaxed));
  metrics.gauge_seconds("unionfs_snapshot_pause_seconds", "How long the last one held requests.",
                        snapshot_pause_seconds_.load(std::memory_order_relaxed));
  metrics.gauge_seconds("unionfs_snapshot_flush_wait_seconds",
                        "How long the last one held flushes.",
                        snapshot_flush_seconds_.load(std::memory_order_relaxed));
}

}  // namespace unionfs
