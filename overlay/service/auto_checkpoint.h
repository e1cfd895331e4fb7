// SPDX-License-Identifier: BSD-3-Clause
//
// Checkpoints by itself: some time after the last client has gone, and at the
// end.  A session that an earlier server has left is layered in the same way, even
// when no client comes.
#ifndef UNIONFS_OVERLAY_SERVICE_AUTO_CHECKPOINT_H
#define UNIONFS_OVERLAY_SERVICE_AUTO_CHECKPOINT_H

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "overlay/host/clock.h"
#include "overlay/host/log.h"
#include "overlay/service/overlay.h"

namespace unionfs {

// What to do with a session that an earlier server has left, because it was killed or was
// told to make no checkpoints, when no client comes that may write.
enum class LeftSession { kKeep, kLayer };

// Thread-safe, but for start() and finish().  The overlay outlives it.
class AutoCheckpoint {
 public:
  // `log` is told one line for each checkpoint that was made or refused, `debug` what it
  // took.  `clock` measures the grace; it outlives this, too.
  AutoCheckpoint(Overlay& overlay, LogSink log, LogSink debug, Clock& clock = steady_clock())
      : overlay_(overlay), log_(std::move(log)), debug_(std::move(debug)), clock_(clock) {}
  ~AutoCheckpoint() { stop(); }

  // After the fork, and before the first client.
  void start(LeftSession left_session);
  // For each client: before Overlay::open(), and after it has gone.  A client
  // that comes stops a checkpoint that has not been committed.
  void client_opens();
  void client_closed();
  // At the end, when no client is left: stops the thread and does what it was
  // going to do.
  void finish();

 private:
  void run();
  void stop();
  void checkpoint_now();

  Overlay& overlay_;
  LogSink log_;
  LogSink debug_;
  Clock& clock_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t clients_ = 0;  // guarded by mutex_
  // When to make a checkpoint, because the last client has gone.  Guarded by mutex_.
  Clock::TimePoint due_at_ = Clock::kNever;
  bool has_to_stop_ = false;  // guarded by mutex_
  // Until the first checkpoint was tried.  Of start(), the thread, and then finish().
  bool has_left_session_ = false;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_AUTO_CHECKPOINT_H
