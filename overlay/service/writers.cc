// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/writers.h"

#include <utility>

#include "fsparse/result.h"

namespace unionfs {

struct Writers::Client {
  explicit Client(Peer its_peer) : peer(std::move(its_peer)) {}

  const Peer peer;
  uint64_t connections = 0;  // guarded by Writers::mutex_
};

Writers::Writers(IsGone is_gone, LogSink log, std::chrono::milliseconds longest_request,
                 Clock& clock)
    : is_gone_(std::move(is_gone)),
      log_(std::move(log)),
      longest_request_(longest_request),
      clock_(clock) {}

Writers::~Writers() = default;

std::unique_ptr<Writers::Connection> Writers::open(Peer peer) {
  const MutexLock lock(mutex_);
  auto& place = clients_[peer.key];
  if (place == nullptr) {
    place = std::make_shared<Client>(std::move(peer));
  }
  const std::shared_ptr<Client> client = place;
  std::unique_ptr<Connection> connection(new Connection(client));
  ++client->connections;
  while (holder_ != nullptr && holder_ != client && !connection->is_read_only_) {
    const std::shared_ptr<Client> holder = holder_;
    connection->is_read_only_ = !wait_for_end(*holder);
    if (connection->is_read_only_) {
      log_(
          fmt::format("{} gets a read-only export, because {} writes to the disk and is "
                      "connected (see shared=)",
                      client->peer.description, holder->peer.description));
    }
  }
  return connection;
}

void Writers::close(std::unique_ptr<Connection> connection) {
  const MutexLock lock(mutex_);
  const std::shared_ptr<Client> client = connection->client_;
  if (--client->connections > 0) {
    return;
  }
  clients_.erase(client->peer.key);
  if (holder_ == client) {
    writer_.store(nullptr, std::memory_order_release);
    holder_.reset();
    claim_ended_.notify_all();
  }
}

bool Writers::may_change(Connection& connection) {
  if (writer_.load(std::memory_order_acquire) == connection.client_.get()) {
    return true;
  }
  // What it has cached is older than what another one wrote since.
  if (connection.was_refused_.load()) {
    return false;
  }
  const MutexLock lock(mutex_);
  while (holder_ != nullptr && holder_ != connection.client_) {
    const std::shared_ptr<Client> holder = holder_;
    if (!wait_for_end(*holder)) {
      if (!connection.was_refused_.exchange(true)) {
        log_(fmt::format(
            "{} may not write, because {} does and is connected (see shared=): refused with EPERM, "
            "until it connects again",
            connection.client_->peer.description, holder->peer.description));
      }
      return false;
    }
  }
  holder_ = connection.client_;
  writer_.store(holder_.get(), std::memory_order_release);
  return true;
}

// Whether the claim ended in time.
bool Writers::wait_for_end(const Client& of) {
  const Clock::TimePoint begin = clock_.now();
  if (wait_until(of, begin + kPatience)) {
    return true;
  }
  bool is_gone = false;
  {
    const MutexUnlock unlocked(mutex_);
    is_gone = is_gone_(of.peer);
  }
  return is_gone && wait_until(of, begin + kPatienceWithTheDead + longest_request_);
}

bool Writers::wait_until(const Client& of, Clock::TimePoint deadline) {
  while (holder_.get() == &of) {
    if (!clock_.wait(mutex_, claim_ended_, deadline)) {
      return false;
    }
  }
  return true;
}

}  // namespace unionfs
