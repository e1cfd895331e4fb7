// SPDX-License-Identifier: BSD-3-Clause
//
// The thread that does what takes long, so that the thread of the socket can go on answering.
#ifndef UNIONFS_OVERLAY_CONTROL_CONTROL_WORKER_H
#define UNIONFS_OVERLAY_CONTROL_CONTROL_WORKER_H

#include <cstdint>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "overlay/control/control_actions.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Thread-safe.
class ControlWorker {
 public:
  using Action = std::function<ControlResult()>;

  struct Done {
    uint64_t ticket = 0;  // as it was given to add()
    ControlResult result;
  };

  // At most `most_waiting` actions wait while one is done.  `on_done` is called after each,
  // by the worker's thread.
  ControlWorker(unsigned most_waiting, std::function<void()> on_done);
  // Waits for the action that has begun.
  ~ControlWorker();
  ControlWorker(const ControlWorker&) = delete;
  ControlWorker& operator=(const ControlWorker&) = delete;

  // False if too many wait already.
  bool add(uint64_t ticket, Action action) UNIONFS_EXCLUDES(mutex_);
  // Nobody wants it any more: it is not begun, or its result is dropped by who asked.
  void forget(uint64_t ticket) UNIONFS_EXCLUDES(mutex_);
  std::vector<Done> take_done() UNIONFS_EXCLUDES(mutex_);

 private:
  struct Waiting {
    uint64_t ticket = 0;
    Action action;
  };

  void run() UNIONFS_EXCLUDES(mutex_);

  const unsigned most_waiting_;
  const std::function<void()> on_done_;
  Mutex mutex_;
  Condition changed_;
  std::deque<Waiting> waiting_ UNIONFS_GUARDED_BY(mutex_);
  std::vector<Done> done_ UNIONFS_GUARDED_BY(mutex_);
  bool has_to_stop_ UNIONFS_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_CONTROL_WORKER_H
