// SPDX-License-Identifier: BSD-3-Clause
//
// Time that only goes forward, and waiting for it.  Whoever waits for a timer takes a
// clock, so that a test can bring its own and move it by hand.
#ifndef UNIONFS_OVERLAY_HOST_CLOCK_H
#define UNIONFS_OVERLAY_HOST_CLOCK_H

#include <chrono>

#include "overlay/host/mutex.h"

namespace unionfs {

// Thread-safe.
class Clock {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // A deadline that never comes.
  static constexpr TimePoint kNever = TimePoint::max();

  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;

  // Lets go of the mutex until somebody notifies the condition, or the deadline has come; false
  // if it had come before.  Returns at other times, too: the caller looks again at what it
  // waits for.  Mutex and condition outlive the wait.
  bool wait(Mutex& mutex, Condition& condition, TimePoint deadline = kNever)
      UNIONFS_REQUIRES(mutex) {
    if (now() >= deadline) {
      return false;
    }
    wait_once(mutex, condition, deadline);
    return true;
  }

 protected:
  // Returns when notified, when the deadline has come, or for no reason.
  virtual void wait_once(Mutex& mutex, Condition& condition, TimePoint deadline)
      UNIONFS_REQUIRES(mutex) = 0;
};

// The host's.  It lives as long as the process.
Clock& steady_clock();

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_CLOCK_H
