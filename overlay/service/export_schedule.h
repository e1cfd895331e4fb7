// SPDX-License-Identifier: BSD-3-Clause
//
// When something is to be done, and who does it: one thread waits, and a few do what is due.
#ifndef UNIONFS_OVERLAY_SERVICE_EXPORT_SCHEDULE_H
#define UNIONFS_OVERLAY_SERVICE_EXPORT_SCHEDULE_H

#include <deque>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "overlay/host/clock.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Thread-safe, but for start() and stop().
class ExportSchedule {
 public:
  // Must not throw.  May call at().
  using Task = std::function<void()>;

  // `clock` outlives it.
  explicit ExportSchedule(Clock& clock) : clock_(clock) {}
  ~ExportSchedule() { stop(); }
  ExportSchedule(const ExportSchedule&) = delete;
  ExportSchedule& operator=(const ExportSchedule&) = delete;

  // After the fork.
  void start(size_t worker_count);
  // Ends the threads, after what they do now.  What was not begun is forgotten.
  void stop();
  // The task is done by a worker, some time after `due_at`.  After stop() it never is.
  void at(Clock::TimePoint due_at, Task task);

 private:
  void wait_for_due();
  void work();
  Clock::TimePoint next_due() const UNIONFS_REQUIRES(mutex_);

  Clock& clock_;
  Mutex mutex_;
  Condition timer_wakeup_;
  Condition work_there_;
  std::multimap<Clock::TimePoint, Task> waiting_ UNIONFS_GUARDED_BY(mutex_);
  std::deque<Task> ready_ UNIONFS_GUARDED_BY(mutex_);
  bool has_to_stop_ UNIONFS_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_EXPORT_SCHEDULE_H
