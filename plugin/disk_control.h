// SPDX-License-Identifier: BSD-3-Clause
//
// What the control socket of a served disk can tell and do.  docs/control.md is for its users.
#ifndef UNIONFS_PLUGIN_DISK_CONTROL_H
#define UNIONFS_PLUGIN_DISK_CONTROL_H

#include <array>
#include <atomic>
#include <string>

#include "overlay/control/control_actions.h"
#include "overlay/control/request_counters.h"
#include "overlay/service/auto_checkpoint.h"
#include "overlay/service/overlay.h"

namespace unionfs {

// Who had a flush done.
enum class FlushedBy : uint8_t { kClient, kFua, kControl };

// Thread-safe.
class DiskControl final : public ControlActions {
 public:
  // What does not change while the server lives.
  struct About {
    std::string version;
    std::string lower_path;
    bool only_reads = false;
    bool checkpoints_by_itself = true;
  };

  // Both outlive this.
  DiskControl(About about, Overlay& overlay, AutoCheckpoint& checkpointer)
      : about_(std::move(about)), overlay_(overlay), checkpointer_(checkpointer) {}

  RequestCounters& requests() { return requests_; }
  void count_flush(FlushedBy by) {
    flushes_[static_cast<size_t>(by)].fetch_add(1, std::memory_order_relaxed);
  }

  std::string info() override;
  std::string metrics() override;
  ControlResult flush() override;
  ControlResult checkpoint() override;
  ControlResult snapshot(const std::string& name) override;

 private:
  const About about_;
  Overlay& overlay_;
  AutoCheckpoint& checkpointer_;
  RequestCounters requests_;
  std::array<std::atomic<uint64_t>, 3> flushes_ = {};  // by FlushedBy
  // Of snapshots: how many, and what the last one took.  Written by the worker only.
  std::atomic<uint64_t> snapshots_made_{0};
  std::atomic<uint64_t> snapshots_refused_{0};
  std::atomic<double> snapshot_pause_seconds_{0};
  std::atomic<double> snapshot_flush_seconds_{0};
};

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_DISK_CONTROL_H
