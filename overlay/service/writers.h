// SPDX-License-Identifier: BSD-3-Clause
//
// Who may write.  ext2 is no cluster file system, so a disk has one writer at a time: the
// client that wrote first.  Its claim ends when its last connection closes.  Until somebody
// writes every client may, because programs that only look (nbdinfo, qemu-img info) open
// the disk for writing as well.
//
// A client is a process, or whatever the plugin can tell apart; all its connections count as
// one.  A dead process is no closed connection: nbd-client ends when it has given its
// sockets to the kernel, and the disk stays mounted.  So the claim never ends with the
// process.  But a dead process is a reason to wait longer for the close, because a killed
// client that comes back may open its new connection before the server has seen the end of
// the old one.
#ifndef UNIONFS_OVERLAY_SERVICE_WRITERS_H
#define UNIONFS_OVERLAY_SERVICE_WRITERS_H

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "overlay/host/clock.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Who is at the other end of a connection.
struct Peer {
  std::string key;          // the same for all connections of one client
  std::string description;  // for the log: "process 12 of user 0"
  int64_t process = -1;     // -1: not known
  uint64_t started_at = 0;  // what tells the process from a later one of its number
};

// Thread-safe.
class Writers {
  struct Client;

 public:
  class Connection {
   public:
    // Whether another client wrote when it was opened, so that it can only read.
    bool is_read_only() const { return is_read_only_; }

   private:
    friend class Writers;
    explicit Connection(std::shared_ptr<Client> client) : client_(std::move(client)) {}

    const std::shared_ptr<Client> client_;
    bool is_read_only_ = false;
    std::atomic<bool> was_refused_{false};
  };

  // Whether the peer's process is known to have ended.
  using IsGone = std::function<bool(const Peer&)>;

  // How long a client waits for another one's last close: this long if that one's process
  // lives, and if it is gone this and the time of the longest request.
  static constexpr std::chrono::milliseconds kPatience{500};
  static constexpr std::chrono::seconds kPatienceWithTheDead{2};

  // `is_gone` is called without a lock held.  `clock` outlives this.
  Writers(IsGone is_gone, LogSink log, std::chrono::milliseconds longest_request,
          Clock& clock = steady_clock());
  ~Writers();

  // For each connection.  May wait.  It must be closed before this object ends.
  std::unique_ptr<Connection> open(Peer peer);
  void close(std::unique_ptr<Connection> connection);
  // Before each change.  False if another client writes; the log says so once for each
  // connection, which is refused from then on.  The first change that another client's
  // claim forbids may wait.
  bool may_change(Connection& connection);

 private:
  bool wait_for_end(const Client& of) UNIONFS_REQUIRES(mutex_);
  bool wait_until(const Client& of, Clock::TimePoint deadline) UNIONFS_REQUIRES(mutex_);

  const IsGone is_gone_;
  const LogSink log_;
  const std::chrono::milliseconds longest_request_;
  Clock& clock_;
  Mutex mutex_;
  Condition claim_ended_;
  std::map<std::string, std::shared_ptr<Client>> clients_ UNIONFS_GUARDED_BY(mutex_);
  std::shared_ptr<Client> holder_ UNIONFS_GUARDED_BY(mutex_);
  std::atomic<const Client*> writer_{nullptr};  // holder_, for a look without a lock
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_WRITERS_H
