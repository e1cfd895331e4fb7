// SPDX-License-Identifier: BSD-3-Clause
//
// Flushes sessions by itself, two to four seconds after their last change, with one thread for all
// of them.
#ifndef UNIONFS_OVERLAY_SESSION_FLUSHER_H
#define UNIONFS_OVERLAY_SESSION_FLUSHER_H

#include <map>
#include <set>
#include <thread>
#include <utility>

#include "overlay/host/clock.h"
#include "overlay/host/mutex.h"

namespace unionfs {

class Session;

// Thread-safe.  Made after the fork.  No session is left when it ends.
class Flusher {
 public:
  // `clock` outlives it.
  explicit Flusher(Clock& clock = steady_clock());
  ~Flusher();
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;

  // From now on until remove(), which waits for a flush of the session that is being done, and
  // tells whether there is something left to flush.
  void add(Session& session);
  bool remove(Session& session);
  // There are changes: the session is flushed when no more have come for a while.
  void wake(Session& session);

 private:
  struct Watched {
    Clock::TimePoint due_at = Clock::kNever;  // kNever: it is clean
    bool has_complained = false;
  };

  void run();
  void flush_one(Session& session) UNIONFS_REQUIRES(mutex_);
  void set_due(Session& session, Watched& watched, Clock::TimePoint due_at)
      UNIONFS_REQUIRES(mutex_);
  Clock::TimePoint next_due() const UNIONFS_REQUIRES(mutex_);

  Clock& clock_;
  Mutex mutex_;
  Condition changed_;  // what is due, or has_to_stop_
  Condition flushed_;  // busy_
  std::map<Session*, Watched> sessions_ UNIONFS_GUARDED_BY(mutex_);
  // Those that are not clean.
  std::set<std::pair<Clock::TimePoint, Session*>> due_ UNIONFS_GUARDED_BY(mutex_);
  Session* busy_ UNIONFS_GUARDED_BY(mutex_) = nullptr;  // is being flushed
  bool has_to_stop_ UNIONFS_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SESSION_FLUSHER_H
