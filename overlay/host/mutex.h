// SPDX-License-Identifier: BSD-3-Clause
//
// Mutexes whose use clang checks when it compiles: a member says which mutex
// guards it, a function says which mutex its caller holds, and clang's
// -Wthread-safety objects to code that does otherwise.  Other compilers see plain
// wrappers of the standard library's classes, and these cost nothing.
//
//   Mutex mutex_;
//   uint64_t clients_ UNIONFS_GUARDED_BY(mutex_) = 0;
//   void count() UNIONFS_REQUIRES(mutex_);
//
// clang looks into one function at a time.  A lambda is a function of its own, so
// Condition takes no predicate: its callers wait in a loop.
#ifndef UNIONFS_OVERLAY_HOST_MUTEX_H
#define UNIONFS_OVERLAY_HOST_MUTEX_H

#include <chrono>
#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define UNIONFS_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define UNIONFS_THREAD_ATTRIBUTE(attribute)
#endif

// On a member: whoever reads or changes it holds the mutex.
#define UNIONFS_GUARDED_BY(mutex) UNIONFS_THREAD_ATTRIBUTE(guarded_by(mutex))
// On a function: the caller holds the mutex, or does not hold it.
#define UNIONFS_REQUIRES(mutex) UNIONFS_THREAD_ATTRIBUTE(requires_capability(mutex))
#define UNIONFS_EXCLUDES(mutex) UNIONFS_THREAD_ATTRIBUTE(locks_excluded(mutex))

namespace unionfs {

// Held by one thread at a time; MutexLock takes it.  It outlives its locks.
class UNIONFS_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

// Holds a mutex while it exists, but for the time between unlock() and lock().
// Used by one thread.
class UNIONFS_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) UNIONFS_THREAD_ATTRIBUTE(acquire_capability(mutex))
      : lock_(mutex.mutex_) {}
  ~MutexLock() UNIONFS_THREAD_ATTRIBUTE(release_capability()) {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void unlock() UNIONFS_THREAD_ATTRIBUTE(release_capability()) { lock_.unlock(); }
  void lock() UNIONFS_THREAD_ATTRIBUTE(acquire_capability()) { lock_.lock(); }

 private:
  friend class Condition;
  std::unique_lock<std::mutex> lock_;
};

// What threads wait for while others change what a mutex guards.  All waiters use
// one mutex.  Safe for concurrent use by multiple threads.
class Condition {
 public:
  // Lets go of the mutex until somebody notifies, and holds it again afterwards.
  // Returns at other times, too: the caller looks again at what it waits for.
  void wait(MutexLock& lock) { condition_.wait(lock.lock_); }
  // The same, but no longer than until `deadline`.  Returns whether that has come.
  template <typename Clock, typename Duration>
  bool wait_until(MutexLock& lock, std::chrono::time_point<Clock, Duration> deadline) {
    return condition_.wait_until(lock.lock_, deadline) == std::cv_status::timeout;
  }

  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_MUTEX_H
