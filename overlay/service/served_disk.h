// SPDX-License-Identifier: BSD-3-Clause
//
// One disk with all that is its own while it is served: the overlay, who may write, and the
// checkpoints.
//
//     prepare() -> start() -> { open() ... close() } -> finish()
//
// prepare() belongs before the fork, and everything else behind it.  A disk of prepare_later()
// has no upper yet: it shows an empty one, which it shares with others, until the first
// make_for_change().
#ifndef UNIONFS_OVERLAY_SERVICE_SERVED_DISK_H
#define UNIONFS_OVERLAY_SERVICE_SERVED_DISK_H

#include <atomic>
#include <functional>
#include <memory>

#include "overlay/host/mutex.h"
#include "overlay/service/auto_checkpoint.h"
#include "overlay/service/disk_traffic.h"
#include "overlay/service/overlay.h"
#include "overlay/service/writers.h"

namespace unionfs {

// How a disk is served, beside what its overlay is told.
struct ServingOptions {
  bool is_shared = false;  // several clients may write
  Writers::IsGone is_gone;
  bool has_checkpoints = true;  // whether somebody may make one: by itself, or when asked
  LeftSession left_session = LeftSession::kKeep;
  CheckpointsWhen checkpoints_when = CheckpointsWhen::kByItself;
  LogSink debug_checkpoint;                       // what a checkpoint took
  CheckpointTotals* checkpoint_totals = nullptr;  // of many disks; outlives them
};

// What a client has open.
struct DiskClient {
  Access access = Access::kReadOnly;
  std::unique_ptr<Writers::Connection> connection = nullptr;  // nullptr: nobody asks who writes
};

// open(), close(), may_change() and the requests of the disk are thread-safe.
class ServedDisk {
 public:
  static Result<std::unique_ptr<ServedDisk>> prepare(OverlayOptions options);

  // `options` are those of its upper, which must not be there when it is made.  `empty` is a
  // server's that only reads, without an upper, and outlives this.
  static std::unique_ptr<ServedDisk> prepare_later(OverlayOptions options, Overlay& empty);

  void start(ServingOptions options);
  // For each client; `find_peer` is asked only where it matters.  A client that asked for
  // more gets kReadOnly, while another one writes.
  Result<std::unique_ptr<DiskClient>> open(Access access, const std::function<Peer()>& find_peer);
  // After an open() that succeeded: what it gave.
  void close(std::unique_ptr<DiskClient> client);
  // Before each change.  False if another client writes; the log says so once.
  bool may_change(const DiskClient& client) {
    return client.connection == nullptr || writers_->may_change(*client.connection);
  }
  // Then: makes the upper, if there is none.  After an error the next change tries again.
  Result<void> make_for_change() {
    return shown_.load(std::memory_order_acquire) != empty_ ? Result<void>() : make_upper();
  }
  // Whether it has an upper of its own, which may have a session.
  bool has_upper() const { return shown_.load(std::memory_order_acquire) != empty_; }
  // After the last client: makes the last checkpoint and closes the upper.
  Result<void> finish();

  uint64_t size_bytes() const { return overlay().size_bytes(); }
  // Only while a client has it open, and not kept: the first change may give it another one.
  GatedDisk& disk() { return shown_.load(std::memory_order_acquire)->requests(); }
  Overlay& overlay() const { return *shown_.load(std::memory_order_acquire); }
  // What is shown at one moment.
  struct Shown {
    Overlay& overlay;
    bool has_upper = false;
  };
  Shown shown() const {
    Overlay* const overlay = shown_.load(std::memory_order_acquire);
    return {*overlay, overlay != empty_};
  }
  // Of its clients, counted by who serves them.
  DiskTraffic& traffic() { return traffic_; }
  const DiskTraffic& traffic() const { return traffic_; }
  // nullptr without checkpoints, before start(), and until has_upper().
  AutoCheckpoint* checkpointer() const {
    const MutexLock lock(mutex_);
    return checkpointer_.get();
  }

 private:
  ServedDisk(std::unique_ptr<Overlay> overlay, LogSink log)
      : log_(std::move(log)), overlay_(std::move(overlay)), shown_(overlay_.get()) {}
  ServedDisk(OverlayOptions later, Overlay& empty)
      : log_(later.log), later_(std::move(later)), empty_(&empty), shown_(&empty) {}

  Result<void> make_upper();
  void begin_checkpoints() UNIONFS_REQUIRES(mutex_);
  // The same, whatever is shown over it.
  const Chain& chain() const;
  void client_comes();

  const LogSink log_;
  const OverlayOptions later_;      // of prepare_later()
  Overlay* const empty_ = nullptr;  // the same
  ServingOptions serving_;          // of start()
  Mutex making_mutex_;              // of who makes the upper; mutex_ may be locked inside
  // nullptr before make_for_change(); set by whoever has making_mutex_, before shown_.
  std::unique_ptr<Overlay> overlay_;
  std::atomic<Overlay*> shown_;  // overlay_, or empty_
  DiskTraffic traffic_;
  std::unique_ptr<Writers> writers_;  // nullptr where several may write
  mutable Mutex mutex_;
  uint64_t clients_ UNIONFS_GUARDED_BY(mutex_) = 0;
  // Set once there is an upper.
  std::unique_ptr<AutoCheckpoint> checkpointer_ UNIONFS_GUARDED_BY(mutex_);
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_SERVED_DISK_H
