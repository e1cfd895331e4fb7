// SPDX-License-Identifier: BSD-3-Clause
//
// One name of the table of Exports; docs/exports.md has its states.
#ifndef UNIONFS_OVERLAY_SERVICE_EXPORT_ENTRY_H
#define UNIONFS_OVERLAY_SERVICE_EXPORT_ENTRY_H

#include "overlay/service/exports.h"

namespace unionfs {

struct Exports::Entry {
  enum class State { kNone, kOpening, kOpen, kClosing };

  explicit Entry(std::string its_name) : name(std::move(its_name)) {}

  const std::string name;
  uint64_t users = 0;   // guarded by the table's mutex
  DiskTraffic traffic;  // thread-safe

  // What follows is guarded by this one, which is never held for long.
  std::mutex mutex;
  std::condition_variable changed;  // the state
  State state = State::kNone;
  std::unique_ptr<ServedDisk> disk;  // while kOpen
  uint64_t clients = 0;
  uint64_t round = 0;            // of clients that came or went: what was planned before is void
  bool is_worked_on = false;     // a task uses the disk
  uint64_t visitors = 0;         // who use the disk and are no clients
  bool is_unsettled = false;     // they kept it open, so the last one looks what is due
  Result<void> last_close = {};  // if it failed, what was answered may not be durable
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_EXPORT_ENTRY_H
