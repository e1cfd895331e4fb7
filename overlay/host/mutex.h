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
// Condition and Clock take no predicates: their callers wait in a loop.
#ifndef UNIONFS_OVERLAY_HOST_MUTEX_H
#define UNIONFS_OVERLAY_HOST_MUTEX_H

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <shared_mutex>

#ifdef __clang__
#define UNIONFS_THREAD_ATTRIBUTE(attribute) __attribute__((attribute))
#else
#define UNIONFS_THREAD_ATTRIBUTE(attribute)
#endif

// On a member: whoever reads or changes it holds the mutex.
#define UNIONFS_GUARDED_BY(mutex) UNIONFS_THREAD_ATTRIBUTE(guarded_by(mutex))
// On a function: the caller holds the mutex afterwards.
#define UNIONFS_ACQUIRES(mutex) UNIONFS_THREAD_ATTRIBUTE(acquire_capability(mutex))
// On a function: the caller holds the mutex, or does not hold it.
#define UNIONFS_REQUIRES(mutex) UNIONFS_THREAD_ATTRIBUTE(requires_capability(mutex))
#define UNIONFS_REQUIRES_SHARED(mutex) UNIONFS_THREAD_ATTRIBUTE(requires_shared_capability(mutex))
#define UNIONFS_EXCLUDES(mutex) UNIONFS_THREAD_ATTRIBUTE(locks_excluded(mutex))

namespace unionfs {

// Held by one thread at a time; MutexLock takes it.  It outlives its locks.
class UNIONFS_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  // Tells clang that the mutex is held, where it cannot see that: in a lambda.
  void assert_held() const UNIONFS_THREAD_ATTRIBUTE(assert_capability(this)) {}

 private:
  friend class MutexLock;
  friend class MutexUnlock;
  friend class Condition;
  std::mutex mutex_;
};

// Holds a mutex while it exists.
class UNIONFS_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) UNIONFS_THREAD_ATTRIBUTE(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.mutex_.lock();
  }
  ~MutexLock() UNIONFS_THREAD_ATTRIBUTE(release_capability()) { mutex_.mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

// Lets go of a mutex that its thread holds, while it exists.
class UNIONFS_THREAD_ATTRIBUTE(scoped_lockable) MutexUnlock {
 public:
  explicit MutexUnlock(Mutex& mutex) UNIONFS_THREAD_ATTRIBUTE(release_capability(mutex))
      : mutex_(mutex) {
    mutex_.mutex_.unlock();
  }
  ~MutexUnlock() UNIONFS_THREAD_ATTRIBUTE(release_capability()) { mutex_.mutex_.lock(); }
  MutexUnlock(const MutexUnlock&) = delete;
  MutexUnlock& operator=(const MutexUnlock&) = delete;

 private:
  Mutex& mutex_;
};

// Held by one thread that changes what it guards, or by many that only look.
class UNIONFS_THREAD_ATTRIBUTE(capability("mutex")) SharedMutex {
 public:
  SharedMutex() = default;
  SharedMutex(const SharedMutex&) = delete;
  SharedMutex& operator=(const SharedMutex&) = delete;

  // For a ChangeLock that takes over: as its constructor, and the same without waiting, which may
  // fail.
  void begin_change() UNIONFS_ACQUIRES(this) UNIONFS_THREAD_ATTRIBUTE(no_thread_safety_analysis) {
    mutex_.lock();
  }
  bool try_begin_change() UNIONFS_THREAD_ATTRIBUTE(try_acquire_capability(true)) {
    return mutex_.try_lock();
  }

 private:
  friend class LookLock;
  friend class ChangeLock;
  std::shared_mutex mutex_;
};

// Holds a SharedMutex with others, while it exists.
class UNIONFS_THREAD_ATTRIBUTE(scoped_lockable) LookLock {
 public:
  explicit LookLock(SharedMutex& mutex) UNIONFS_THREAD_ATTRIBUTE(acquire_shared_capability(mutex))
      : mutex_(mutex) {
    mutex_.mutex_.lock_shared();
  }
  ~LookLock() UNIONFS_THREAD_ATTRIBUTE(release_capability()) { mutex_.mutex_.unlock_shared(); }
  LookLock(const LookLock&) = delete;
  LookLock& operator=(const LookLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// Holds a SharedMutex alone, while it exists.
class UNIONFS_THREAD_ATTRIBUTE(scoped_lockable) ChangeLock {
 public:
  explicit ChangeLock(SharedMutex& mutex) UNIONFS_THREAD_ATTRIBUTE(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.mutex_.lock();
  }
  enum class Begun { kYes };
  // After SharedMutex::begin_change().
  ChangeLock(SharedMutex& mutex, Begun /*begun*/)
      UNIONFS_THREAD_ATTRIBUTE(requires_capability(mutex))
      : mutex_(mutex) {}
  ~ChangeLock() UNIONFS_THREAD_ATTRIBUTE(release_capability()) { mutex_.mutex_.unlock(); }
  ChangeLock(const ChangeLock&) = delete;
  ChangeLock& operator=(const ChangeLock&) = delete;

 private:
  SharedMutex& mutex_;
};

// What threads wait for while others change what a mutex guards.  All waiters use
// one mutex.  Safe for concurrent use by multiple threads.
class Condition {
 public:
  // Lets go of the mutex until somebody notifies, and holds it again afterwards.
  // Returns at other times, too: the caller looks again at what it waits for.
  void wait(Mutex& mutex) UNIONFS_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  // The same, but no longer than until `deadline`.  Returns whether that has come.
  template <typename ItsClock, typename Duration>
  bool wait_until(Mutex& mutex, std::chrono::time_point<ItsClock, Duration> deadline)
      UNIONFS_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const std::cv_status status = condition_.wait_until(lock, deadline);
    lock.release();
    return status == std::cv_status::timeout;
  }

  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_MUTEX_H
