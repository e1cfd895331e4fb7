// SPDX-License-Identifier: BSD-3-Clause
//
// Checkpoints by itself: some time after the last client has gone, and at the
// end, or whenever somebody asks for one.  A session that an earlier server has left is layered in
// the same way, even when no client comes.
#ifndef UNIONFS_OVERLAY_SERVICE_AUTO_CHECKPOINT_H
#define UNIONFS_OVERLAY_SERVICE_AUTO_CHECKPOINT_H

#include <atomic>
#include <cstdint>
#include <thread>

#include "overlay/host/clock.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"
#include "overlay/service/overlay.h"

namespace unionfs {

// What to do with a session that an earlier server has left, because it was killed or was
// told to make no checkpoints, when no client comes that may write.
enum class LeftSession { kKeep, kLayer };

// Who decides that a checkpoint is to be made.
enum class CheckpointsWhen {
  kByItself,   // a thread of its own, some time after the last client
  kScheduled,  // the same, but whoever has many disks waits for all of them, and asks
  kAsked,      // a person; so there is none at the end either
};

// What became of asking.
struct AskedCheckpoint {
  uint64_t clients = 0;  // it was not made, because so many are there
  CheckpointResult result = std::optional<CheckpointFigures>();
};

// Since the start.
struct CheckpointCounts {
  uint64_t made = 0;
  uint64_t refused = 0;  // not those that a client cancelled
};

// The same of many disks, also of those that are closed.  Thread-safe.
class CheckpointTotals {
 public:
  void count_made() { made_.fetch_add(1, std::memory_order_relaxed); }
  void count_refused() { refused_.fetch_add(1, std::memory_order_relaxed); }
  CheckpointCounts counts() const {
    return {made_.load(std::memory_order_relaxed), refused_.load(std::memory_order_relaxed)};
  }

 private:
  std::atomic<uint64_t> made_{0};
  std::atomic<uint64_t> refused_{0};
};

// Thread-safe, but for start() and finish(), with which ask() must not meet.  The overlay outlives
// it.
class AutoCheckpoint {
 public:
  // `log` is told one line for each checkpoint that was made or refused, `debug` what it
  // took.  `clock` measures the grace.  `totals` counts, too; nullptr: nobody wants to know.  Both
  // outlive this.
  AutoCheckpoint(Overlay& overlay, LogSink log, LogSink debug, Clock& clock = steady_clock(),
                 CheckpointTotals* totals = nullptr)
      : overlay_(overlay),
        log_(std::move(log)),
        debug_(std::move(debug)),
        clock_(clock),
        totals_(totals) {}
  ~AutoCheckpoint() { stop(); }

  // After the fork, and before the first client.
  void start(LeftSession left_session, CheckpointsWhen when = CheckpointsWhen::kByItself);
  // For each client: before Overlay::open(), and after it has gone.  A client
  // that comes stops a checkpoint that has not been committed.
  void client_opens();
  void client_closed();
  // Makes at once what is made after the last client, unless a client is there.  Never waits
  // for one to go.
  AskedCheckpoint ask();
  uint64_t client_count() const;
  CheckpointCounts counts() const;
  // At the end, when no client is left: stops the thread and does what it was
  // going to do.
  void finish();

 private:
  void run();
  void stop();
  CheckpointResult checkpoint_now();
  CheckpointResult try_checkpoint() UNIONFS_REQUIRES(making_mutex_);
  void report(const CheckpointResult& result, Clock::TimePoint begin);

  Overlay& overlay_;
  LogSink log_;
  LogSink debug_;
  Clock& clock_;
  CheckpointTotals* const totals_;
  std::thread thread_;
  CheckpointsWhen when_ = CheckpointsWhen::kByItself;  // of start()
  Mutex making_mutex_;  // of who makes a checkpoint; mutex_ may be locked inside
  mutable Mutex mutex_;
  Condition changed_;
  uint64_t clients_ UNIONFS_GUARDED_BY(mutex_) = 0;
  // When to make a checkpoint, because the last client has gone.
  Clock::TimePoint due_at_ UNIONFS_GUARDED_BY(mutex_) = Clock::kNever;
  bool has_to_stop_ UNIONFS_GUARDED_BY(mutex_) = false;
  // Until the first checkpoint was tried.
  bool has_left_session_ UNIONFS_GUARDED_BY(making_mutex_) = false;
  CheckpointCounts counts_ UNIONFS_GUARDED_BY(mutex_);
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_AUTO_CHECKPOINT_H
