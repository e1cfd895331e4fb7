// SPDX-License-Identifier: BSD-3-Clause
//
// Time that only goes forward, and waiting for it.  Whoever waits for a timer takes a
// clock, so that a test can bring its own and move it by hand.
#ifndef UNIONFS_OVERLAY_HOST_CLOCK_H
#define UNIONFS_OVERLAY_HOST_CLOCK_H

#include <chrono>
#include <condition_variable>
#include <mutex>

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

  // Waits until `is_over` is true or the deadline has come; returns is_over().  `lock`
  // holds the mutex that guards what is_over() reads, and holds it again afterwards.
  // Whoever changes that notifies `condition`.  Both outlive the wait.
  template <typename Predicate>
  bool wait_until(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                  TimePoint deadline, Predicate is_over) {
    while (!is_over()) {
      if (now() >= deadline) {
        return false;
      }
      wait_once(lock, condition, deadline);
    }
    return true;
  }
  // The same, but without a deadline.
  template <typename Predicate>
  void wait(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
            Predicate is_over) {
    (void)wait_until(lock, condition, kNever, is_over);
  }

 protected:
  // Returns when notified, when the deadline has come, or for no reason.
  virtual void wait_once(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                         TimePoint deadline) = 0;
};

// The host's.  It lives as long as the process.
Clock& steady_clock();

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_CLOCK_H
