// SPDX-License-Identifier: BSD-3-Clause
//
// A thread that owns one connection after another, and reads pieces through it.
//
//     threads of clients --push()--> queue --> [ thread: libnbd ] --> done()
//     the connector      --offer()-> handle -->
//
// Nobody else touches the handle or completes a piece.  A piece whose time is over while it is in
// flight costs the connection, because libnbd may write into its buffer as long as it is.
#ifndef UNIONFS_OVERLAY_REMOTE_REMOTE_CONNECTION_H
#define UNIONFS_OVERLAY_REMOTE_REMOTE_CONNECTION_H

#include <semaphore.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "overlay/host/mutex.h"
#include "overlay/remote/hole_map.h"
#include "overlay/remote/nbd_handle.h"

namespace unionfs {

// What somebody waits for: a number of pieces.  add() comes before they are pushed.
class RemoteWait {
 public:
  RemoteWait() { (void)::sem_init(&is_over_, 0, 0); }
  ~RemoteWait() { (void)::sem_destroy(&is_over_); }
  RemoteWait(const RemoteWait&) = delete;
  RemoteWait& operator=(const RemoteWait&) = delete;

  void expect(size_t pieces) { left_.store(pieces, std::memory_order_relaxed); }
  // 0, or an errno value.  Nothing of this object is touched after the last one.
  void done(int error);
  // Once, if anything is expected.
  void wait();
  // The same, but no longer than this.  Returns whether it is over.
  bool wait_for(std::chrono::milliseconds time);
  // After wait(): 0, or the errno value of a piece that failed.
  int error() const { return error_.load(std::memory_order_relaxed); }

 private:
  std::atomic<size_t> left_{0};
  std::atomic<int> error_{0};
  sem_t is_over_;
};

// A read that the server takes as it is.  Lives until its wait is over.
struct RemotePiece {
  uint64_t offset = 0;
  ByteSpan buffer;
  RemoteTime deadline = RemoteTime::max();
  RemoteWait* wait = nullptr;
  // Set: nobody wants it any more; see RemoteConnection::look_again().  May be nullptr.
  const std::atomic<bool>* is_cancelled = nullptr;

  // Of the connection that has it in flight.
  class RemoteConnection* connection = nullptr;
  size_t index = 0;
  bool is_answered = false;
  int error = 0;
};

// Whom a connection tells, from its own thread.  Thread-safe.
class RemoteConnectionOwner {
 public:
  // The handle is gone; another one is wanted.
  virtual void connection_lost(const std::string& message) = 0;
  // For what waits at a connection without a handle: one that has one, or nullptr.
  virtual class RemoteConnection* connection_in_use() = 0;
  // An errno value if nothing may be read any more, 0 otherwise.
  virtual int refusal() const = 0;
  // How much longer a piece may take from now on; nothing: as its deadline says.
  virtual std::optional<std::chrono::milliseconds> most_time() const = 0;
  // What is known of holes comes with a handle and goes with it.
  virtual void holes_known(const RemoteConnection* by, std::shared_ptr<const HoleMap> holes) = 0;
  virtual void holes_forgotten(const RemoteConnection* by) = 0;

 protected:
  ~RemoteConnectionOwner() = default;
};

class RemoteConnection {
 public:
  // Starts the thread.  The owner outlives the connection.
  explicit RemoteConnection(RemoteConnectionOwner& owner);
  ~RemoteConnection() { stop(); }
  RemoteConnection(const RemoteConnection&) = delete;
  RemoteConnection& operator=(const RemoteConnection&) = delete;

  // Ends the thread, and answers all that waits with ESHUTDOWN.  No client may push any more.
  void stop();
  // Thread-safe.  The piece is inside the export, and its wait expects it.
  void push(RemotePiece& piece);
  // Thread-safe.  To be used from now on, once the connection has none.
  void offer(std::unique_ptr<NbdHandle> handle, bool asks_for_holes);
  bool is_up() const { return is_up_.load(std::memory_order_acquire); }
  // Pieces that wait or are in flight, about.
  size_t load() const { return load_.load(std::memory_order_relaxed); }
  // Thread-safe: lets the thread look whether the owner refuses.
  void wake() { event_.signal(); }
  // Thread-safe: the same, and which pieces are cancelled, and how much time the owner gives.  What
  // waits and is cancelled ends with ECANCELED.  What is in flight is answered soon, or costs the
  // connection.
  void look_again();

 private:
  struct HolesInquiry;

  void run();
  void take_what_came();
  void shorten(RemotePiece& piece, std::chrono::milliseconds rest) const;
  void shorten_all();
  void expire(RemoteTime now);
  void send();
  bool send_piece(RemotePiece& piece);
  void ask_for_holes();
  void wait_for_something(RemoteTime now);
  void settle();
  void lose_handle();
  void pass_on();
  void fail_all(int error);
  void finish(RemotePiece& piece, int error);
  RemoteTime next_deadline() const;

  RemoteConnectionOwner& owner_;
  WakeEvent event_;
  std::atomic<bool> is_up_{false};
  std::atomic<bool> is_stopped_{false};
  std::atomic<bool> has_to_look_{false};
  std::atomic<size_t> load_{0};

  Mutex mutex_;
  std::vector<RemotePiece*> came_ UNIONFS_GUARDED_BY(mutex_);
  std::unique_ptr<NbdHandle> offered_ UNIONFS_GUARDED_BY(mutex_);
  bool offered_asks_ UNIONFS_GUARDED_BY(mutex_) = false;

  // Of the thread alone.
  std::unique_ptr<NbdHandle> handle_;
  std::vector<RemotePiece*> waiting_;  // the first came first
  std::vector<RemotePiece*> in_flight_;
  std::vector<RemotePiece*> answered_;
  size_t in_flight_bytes_ = 0;
  RemoteTime earliest_ = RemoteTime::max();  // no deadline is before
  std::shared_ptr<HolesInquiry> inquiry_;

  std::thread thread_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_REMOTE_CONNECTION_H
