// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/disk_control.h"

namespace unionfs {
namespace {

void add_session(MetricsText& metrics, const OverlayFacts& facts) {
  if (!facts.session) {
    return;
  }
  metrics.gauge("unionfs_session_blocks", "Blocks that clients wrote since the last checkpoint.",
                facts.session->blocks);
  metrics.gauge("unionfs_session_block_bytes", "The size of such a block.", facts.block_size_bytes);
  metrics.gauge("unionfs_bitmap_pages", "Pages of the session's bitmap that have a bit.",
                facts.session->bitmap_pages);
}

void add_host(MetricsText& metrics, const OverlayFacts& facts) {
  if (!facts.upper) {
    return;
  }
  metrics.gauge("unionfs_upper_disk_bytes", "What the upper takes on the host.",
                facts.upper->used_bytes);
  metrics.gauge("unionfs_host_free_bytes", "What the file system of the upper has left.",
                facts.upper->free_bytes);
}

}  // namespace

ControlResult DiskControl::no_export() {
  return {ControlOutcome::kUnknown, "this server has one disk, and no exports by name"};
}

ControlResult DiskControl::info(const AskedExport& asked) {
  if (asked) {
    return no_export();
  }
  ControlJson json = disk_info(about_, overlay_);
  json["clients"] = checkpointer_.client_count();
  return {ControlOutcome::kDone, text_of_json(json)};
}

std::string DiskControl::metrics() {
  const OverlayFacts facts = overlay_.facts();
  MetricsText metrics;
  metrics.begin("unionfs_info", "gauge", "The program that serves the disk.");
  metrics.add("version", about_.version, 1);
  counts_.add_requests_and_flushes(metrics);
  add_checkpoints(metrics, checkpointer_.counts());
  counts_.add_snapshots(metrics);
  metrics.gauge("unionfs_clients", "Connections of clients.", checkpointer_.client_count());
  metrics.gauge("unionfs_disk_size_bytes", "The size of the disk.", facts.size_bytes);
  metrics.gauge("unionfs_disk_failed", "Whether every request fails until a restart.",
                facts.has_failed ? 1 : 0);
  add_session(metrics, facts);
  add_host(metrics, facts);
  add_cache(metrics, overlay_.chain());
  return metrics.text();
}

ControlResult DiskControl::flush(const AskedExport& asked) {
  return asked ? no_export() : flush_disk(overlay_, counts_);
}

ControlResult DiskControl::checkpoint(const AskedExport& asked) {
  return asked ? no_export() : checkpoint_disk(about_, checkpointer_);
}

ControlResult DiskControl::snapshot(const AskedExport& asked, const std::string& name) {
  return asked ? no_export() : snapshot_disk(overlay_, checkpointer_, counts_, name);
}

}  // namespace unionfs
