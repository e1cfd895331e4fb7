// SPDX-License-Identifier: BSD-3-Clause
//
// The connections to one export, and a thread that makes them: again and again, until each leads
// to the same image as before.
#ifndef UNIONFS_OVERLAY_REMOTE_REMOTE_CLIENT_H
#define UNIONFS_OVERLAY_REMOTE_REMOTE_CLIENT_H

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "overlay/host/log.h"
#include "overlay/remote/remote_connection.h"

namespace unionfs {

struct RemoteOptions {
  static constexpr unsigned kMostConnections = 4;

  std::chrono::milliseconds timeout{25'000};  // of a read, in all; 0: it waits for ever
  unsigned connections = kMostConnections;    // if the server allows more than one; 1 to 4
  // Whether threads may be started at once; else RemoteFile::start() says when.
  bool starts_at_once = true;
  // Of a read, once it is known that the process is to end.
  std::chrono::milliseconds time_at_end{5'000};
  // How often the image is compared with what it was.
  std::chrono::milliseconds check_period{300'000};
};

// Whether an image is the same as before: kSystem where it cannot be read, any other error where
// it is another one.  Thread-safe.
using SameImageCheck = std::function<Result<void>(const Image& now)>;

// Safe for concurrent use by multiple threads.
class RemoteClient final : private RemoteConnectionOwner {
 public:
  // Starts its threads.  `about`: of the connection that the image was opened by.
  RemoteClient(std::string uri, const RemoteExport& about, RemoteOptions options, LogSink log,
               SameImageCheck check);
  // Nobody may read any more.
  ~RemoteClient();
  RemoteClient(const RemoteClient&) = delete;
  RemoteClient& operator=(const RemoteClient&) = delete;

  // Sends the pieces, which `wait` expects.
  void send(std::vector<RemotePiece>& pieces, std::optional<std::chrono::milliseconds> time = {});
  // EIO for good, once the image was found to be another one.
  Result<void> check_same() const;
  // Makes it so.
  void note_difference(const Error& error);
  // Requests that wait, and all from now on, fail with ECANCELED, and no connection is made or
  // compared any more: it is to end.  Not thread-safe against itself.
  void give_up();
  // The process is to end: from now on a read takes no longer than RemoteOptions::time_at_end.
  void end_soon();
  // Something that was sent is cancelled.
  void look_again();
  // nullptr while nothing is known.
  std::shared_ptr<const HoleMap> holes() const;

 private:
  using Milliseconds = std::chrono::milliseconds;

  void connection_lost(const std::string& message) override;
  RemoteConnection* connection_in_use() override;
  int refusal() const override { return refusal_.load(std::memory_order_acquire); }
  std::optional<Milliseconds> most_time() const override {
    return is_ending_.load(std::memory_order_acquire) ? std::optional(options_.time_at_end)
                                                      : std::nullopt;
  }
  void holes_known(const RemoteConnection* by, std::shared_ptr<const HoleMap> holes) override;
  void holes_forgotten(const RemoteConnection* by) override;

  void refuse(int error_number);
  void stop_connector();
  void run();
  uint64_t losses() const;
  bool wait_until(RemoteTime until, uint64_t seen);
  RemoteConnection* wanting() const;
  Result<std::unique_ptr<NbdHandle>> connect();
  Result<void> compare(NbdHandle& handle, RemoteTime deadline);
  void connect_one(RemoteConnection& connection);
  void compare_again();
  void has_failed(const Error& error);
  void tell_if_away(const std::string& message);

  const std::string uri_;
  const std::string shown_;  // the same, without what is secret in it
  const RemoteExport about_;
  const RemoteOptions options_;
  const LogSink log_;
  const SameImageCheck check_;
  std::atomic<bool> differs_{false};
  std::atomic<int> refusal_{0};       // an errno value: EIO where it differs
  std::atomic<bool> is_away_{false};  // the log has it
  std::atomic<bool> is_ending_{false};
  WakeEvent stop_;

  mutable Mutex mutex_;
  Condition wakeup_;
  bool is_stopped_ UNIONFS_GUARDED_BY(mutex_) = false;
  uint64_t losses_ UNIONFS_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<const HoleMap> holes_ UNIONFS_GUARDED_BY(mutex_);
  const RemoteConnection* holes_by_ UNIONFS_GUARDED_BY(mutex_) = nullptr;

  Milliseconds pause_{0};  // before the next attempt; the connector's alone

  std::vector<std::unique_ptr<RemoteConnection>> connections_;
  std::thread connector_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_REMOTE_CLIENT_H
