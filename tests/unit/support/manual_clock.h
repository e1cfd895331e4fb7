// SPDX-License-Identifier: BSD-3-Clause
//
// A clock that stands still until a test moves it, and that tells the test when a
// thread has begun to wait.  So no test sleeps to let a timer pass.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_MANUAL_CLOCK_H
#define UNIONFS_TESTS_UNIT_SUPPORT_MANUAL_CLOCK_H

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <list>
#include <stdexcept>
#include <string>
#include <vector>

#include "overlay/host/clock.h"

namespace unionfs::testing {

// Thread-safe.  The await functions fail after a minute, by an exception, because what
// they wait for will not come any more.
class ManualClock final : public Clock {
 public:
  TimePoint now() const override {
    const std::lock_guard<std::mutex> guard(mutex_);
    return now_;
  }

  // Wakes whoever waited for a deadline that has come.  Everybody who waits must outlive
  // the call.
  void advance(Duration duration) {
    std::vector<Sleeper> due;
    {
      const std::lock_guard<std::mutex> guard(mutex_);
      now_ += duration;
      std::copy_if(sleepers_.begin(), sleepers_.end(), std::back_inserter(due),
                   [this](const Sleeper& sleeper) { return sleeper.deadline <= now_; });
    }
    for (const Sleeper& sleeper : due) {
      // A sleeper holds its mutex from its entry in the list until it really waits.
      const MutexLock guard(*sleeper.mutex);
      sleeper.condition->notify_all();
    }
  }

  // Waits until a thread waits for a deadline that is still to come; returns how far away
  // the nearest is.
  Duration await_deadline() {
    std::unique_lock<std::mutex> lock(mutex_);
    TimePoint nearest = kNever;
    await(lock, "a deadline", [&] {
      for (const Sleeper& sleeper : sleepers_) {
        nearest = sleeper.deadline > now_ ? std::min(nearest, sleeper.deadline) : nearest;
      }
      return nearest != kNever;
    });
    return nearest - now_;
  }

  // Waits until so many threads wait without a deadline.  It does not count those that
  // waited at the last forget_sleepers(), until they wait anew: call that when they are
  // about to be notified.
  void await_sleepers(uint64_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    await(lock, "its turn", [&] {
      const auto waiting =
          std::count_if(sleepers_.begin(), sleepers_.end(), [](const Sleeper& sleeper) {
            return sleeper.deadline == kNever && !sleeper.is_forgotten;
          });
      return static_cast<uint64_t>(waiting) + gone_ >= count;
    });
  }
  void forget_sleepers() {
    const std::lock_guard<std::mutex> guard(mutex_);
    for (Sleeper& sleeper : sleepers_) {
      sleeper.is_forgotten = true;
    }
  }
  // A thread that will not wait any more: it counts as one that waits.
  void count_as_sleeper() {
    const std::lock_guard<std::mutex> guard(mutex_);
    ++gone_;
    changed_.notify_all();
  }

  // Waits until a thread waits without a deadline, and none with one.
  void await_idle() {
    std::unique_lock<std::mutex> lock(mutex_);
    await(lock, "nothing", [this] {
      return !sleepers_.empty() &&
             std::all_of(sleepers_.begin(), sleepers_.end(),
                         [](const Sleeper& sleeper) { return sleeper.deadline == kNever; });
    });
  }

 protected:
  void wait_once(Mutex& mutex, Condition& condition, TimePoint deadline)
      UNIONFS_REQUIRES(mutex) override {
    std::unique_lock<std::mutex> guard(mutex_);
    if (deadline <= now_) {
      return;
    }
    const auto entry = sleepers_.insert(sleepers_.end(), {deadline, &condition, &mutex});
    changed_.notify_all();
    guard.unlock();
    condition.wait(mutex);
    guard.lock();
    sleepers_.erase(entry);
    changed_.notify_all();
  }

 private:
  struct Sleeper {
    TimePoint deadline;
    Condition* condition;
    Mutex* mutex;
    bool is_forgotten = false;
  };

  template <typename Predicate>
  void await(std::unique_lock<std::mutex>& lock, const char* what, Predicate predicate) {
    if (!changed_.wait_for(lock, std::chrono::minutes(1), predicate)) {
      throw std::runtime_error(std::string("no thread waits for ") + what);
    }
  }

  mutable std::mutex mutex_;  // guards what follows; taken after a sleeper's mutex
  std::condition_variable changed_;
  TimePoint now_{std::chrono::hours(1)};
  std::list<Sleeper> sleepers_;
  uint64_t gone_ = 0;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_MANUAL_CLOCK_H
