// SPDX-License-Identifier: BSD-3-Clause
//
// Tells when nbdkit is told to end.  It waits for the requests of its clients then, for as long as
// they take, and calls the plugin only afterwards.
#ifndef UNIONFS_PLUGIN_END_WATCH_H
#define UNIONFS_PLUGIN_END_WATCH_H

#include <atomic>
#include <functional>
#include <thread>

#include "overlay/remote/nbd_handle.h"

namespace unionfs {

// One in a process.  nbdkit's own handlers of signals are called as before.
class EndWatch {
 public:
  // After the fork.  `at_end` is called once, in a thread of its own, after the first signal that
  // ends nbdkit.
  explicit EndWatch(std::function<void()> at_end);
  ~EndWatch();
  EndWatch(const EndWatch&) = delete;
  EndWatch& operator=(const EndWatch&) = delete;

 private:
  void run();

  const std::function<void()> at_end_;
  WakeEvent& event_;  // of the process, see end_watch.cc
  std::atomic<bool> is_stopped_{false};
  std::thread thread_;
};

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_END_WATCH_H
