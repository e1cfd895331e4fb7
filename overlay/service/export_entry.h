// SPDX-License-Identifier: BSD-3-Clause
//
// One name of the table of Exports; docs/exports.md has its states.
#ifndef UNIONFS_OVERLAY_SERVICE_EXPORT_ENTRY_H
#define UNIONFS_OVERLAY_SERVICE_EXPORT_ENTRY_H

#include <memory>
#include <string>
#include <utility>

#include "overlay/host/mutex.h"
#include "overlay/service/served_disk.h"

namespace unionfs {

struct ExportEntry {
  enum class State { kNone, kOpening, kOpen, kClosing };

  explicit ExportEntry(std::string its_name) : name(std::move(its_name)) {}

  const std::string name;
  uint64_t users = 0;  // guarded by the table's mutex

  Mutex mutex;        // never held for long
  Condition changed;  // the state
  State state UNIONFS_GUARDED_BY(mutex) = State::kNone;
  // While kOpen.  Whoever is counted below uses it without the mutex.
  std::unique_ptr<ServedDisk> disk UNIONFS_GUARDED_BY(mutex);
  uint64_t clients UNIONFS_GUARDED_BY(mutex) = 0;
  // Of clients that came or went: what was planned before is void.
  uint64_t round UNIONFS_GUARDED_BY(mutex) = 0;
  bool is_worked_on UNIONFS_GUARDED_BY(mutex) = false;  // a task uses the disk
  uint64_t visitors UNIONFS_GUARDED_BY(mutex) = 0;      // who use the disk and are no clients
  // They kept it open, so the last one looks what is due.
  bool is_unsettled UNIONFS_GUARDED_BY(mutex) = false;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_EXPORT_ENTRY_H
