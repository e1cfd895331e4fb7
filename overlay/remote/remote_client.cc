// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/remote_client.h"

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "overlay/remote/nbd_uri.h"

namespace unionfs {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kHandshakeTime(10'000);
constexpr milliseconds kFirstPause(100);
constexpr milliseconds kLongestPause(5'000);

RemoteTime time_now() {
  return std::chrono::steady_clock::now();
}

// Half of it to all of it, so that many servers do not come back at the same moment.
milliseconds with_jitter(milliseconds pause) {
  thread_local std::minstd_rand random(std::random_device{}());
  std::uniform_int_distribution<int64_t> spread(pause.count() / 2, pause.count());
  return milliseconds(spread(random));
}

}  // namespace

RemoteClient::RemoteClient(std::string uri, const RemoteExport& about, RemoteOptions options,
                           LogSink log, SameImageCheck check)
    : uri_(std::move(uri)),
      shown_(shown_nbd_uri(uri_)),
      about_(about),
      options_(options),
      log_(std::move(log)),
      check_(std::move(check)) {
  const unsigned count = about.allows_many_connections ? options_.connections : 1;
  RemoteConnectionOwner& owner = *this;
  for (unsigned i = 0; i < count; ++i) {
    connections_.push_back(std::make_unique<RemoteConnection>(owner));
  }
  connector_ = std::thread([this] { run(); });
}

RemoteClient::~RemoteClient() {
  stop_connector();
  // They may look at each other until all have ended.
  for (const auto& connection : connections_) {
    connection->stop();
  }
}

// ---- for readers ---------------------------------------------------------------

void RemoteClient::send(std::vector<RemotePiece>& pieces, std::optional<milliseconds> time) {
  const milliseconds timeout = time.value_or(options_.timeout);
  const RemoteTime deadline = timeout.count() == 0 ? RemoteTime::max() : time_now() + timeout;
  for (RemotePiece& piece : pieces) {
    piece.deadline = deadline;
    RemoteConnection* connection = connection_in_use();
    (connection != nullptr ? connection : connections_.front().get())->push(piece);
  }
}

RemoteConnection* RemoteClient::connection_in_use() {
  RemoteConnection* best = nullptr;
  for (const auto& connection : connections_) {
    const bool is_better =
        connection->is_up() && (best == nullptr || connection->load() < best->load());
    best = is_better ? connection.get() : best;
  }
  return best;
}

Result<void> RemoteClient::check_same() const {
  return !differs_.load(std::memory_order_acquire)
             ? Result<void>()
             : system_failure(EIO, fmt::format("{}: is another image than before", shown_));
}

std::shared_ptr<const HoleMap> RemoteClient::holes() const {
  const MutexLock lock(mutex_);
  return holes_;
}

// ---- for connections -----------------------------------------------------------

void RemoteClient::connection_lost(const std::string& message) {
  {
    const MutexLock lock(mutex_);
    ++losses_;
  }
  wakeup_.notify_all();
  if (!differs_.load()) {
    tell_if_away(fmt::format("{}: the connection is lost ({})", shown_, message));
  }
}

void RemoteClient::tell_if_away(const std::string& message) {
  if (connection_in_use() == nullptr && !is_away_.exchange(true)) {
    log_(fmt::format("{}; requests wait until it is there again{}", message,
                     options_.timeout.count() == 0
                         ? ""
                         : fmt::format(", {} ms at most", options_.timeout.count())));
  }
}

void RemoteClient::holes_known(const RemoteConnection* by, std::shared_ptr<const HoleMap> holes) {
  const MutexLock lock(mutex_);
  holes_ = std::move(holes);
  holes_by_ = by;
}

void RemoteClient::holes_forgotten(const RemoteConnection* by) {
  const MutexLock lock(mutex_);
  if (holes_by_ == by) {
    holes_ = nullptr;
    holes_by_ = nullptr;
  }
}

// ---- the connector -------------------------------------------------------------

void RemoteClient::run() {
  RemoteTime next_check = time_now() + options_.check_period;
  RemoteTime next_attempt = time_now();
  while (true) {
    const uint64_t seen = losses();
    const bool is_wanted = wanting() != nullptr;
    if (!wait_until(is_wanted ? std::min(next_attempt, next_check) : next_check, seen)) {
      return;
    }
    if (time_now() >= next_check) {
      compare_again();
      next_check = time_now() + options_.check_period;
    }
    RemoteConnection* connection = wanting();
    if (connection != nullptr && time_now() >= next_attempt) {
      connect_one(*connection);
      next_attempt = time_now() + with_jitter(pause_);
    }
  }
}

uint64_t RemoteClient::losses() const {
  const MutexLock lock(mutex_);
  return losses_;
}

// Or until a connection is lost that was not seen.  False when it is time to end: also where the
// image is another one, because nothing is left to be done then.
bool RemoteClient::wait_until(RemoteTime until, uint64_t seen) {
  const MutexLock lock(mutex_);
  while (!is_stopped_ && losses_ == seen && !wakeup_.wait_until(mutex_, until)) {
  }
  return !is_stopped_ && !differs_.load();
}

RemoteConnection* RemoteClient::wanting() const {
  const auto found = std::find_if(connections_.begin(), connections_.end(),
                                  [](const auto& connection) { return !connection->is_up(); });
  return found == connections_.end() ? nullptr : found->get();
}

Result<std::unique_ptr<NbdHandle>> RemoteClient::connect() {
  const RemoteTime deadline = time_now() + kHandshakeTime;
  UNIONFS_ASSIGN(auto handle, NbdHandle::connect(uri_, deadline, stop_));
  UNIONFS_TRY(compare(*handle, deadline));
  return handle;
}

Result<void> RemoteClient::compare(NbdHandle& handle, RemoteTime deadline) {
  const RemoteExport& now = handle.about();
  if (now.size_bytes != about_.size_bytes) {
    return invalid("{}: has {} bytes now, not {}", shown_, now.size_bytes, about_.size_bytes);
  }
  if (now.minimum_bytes > about_.minimum_bytes || now.maximum_bytes < about_.maximum_bytes) {
    return system_failure(ENOTSUP,
                          fmt::format("{}: reads are limited otherwise than before", shown_));
  }
  return check_ ? check_(HandleImage(handle, deadline, stop_)) : Result<void>();
}

void RemoteClient::connect_one(RemoteConnection& connection) {
  Result<std::unique_ptr<NbdHandle>> handle = connect();
  if (!handle) {
    has_failed(handle.error());
    return;
  }
  bool asks_for_holes = false;
  {
    const MutexLock lock(mutex_);
    asks_for_holes = (*handle)->about().has_block_status && holes_by_ == nullptr;
    holes_by_ = asks_for_holes ? &connection : holes_by_;
  }
  if (is_away_.exchange(false)) {
    log_(fmt::format("{}: is there again, and the same", shown_));
  }
  // A server that ends every connection at once is not asked a thousand times a second.
  pause_ = connection_in_use() != nullptr ? milliseconds(0) : kFirstPause;
  connection.offer(std::move(*handle), asks_for_holes);
}

void RemoteClient::has_failed(const Error& error) {
  if (error.error_number == ECANCELED) {
    return;
  }
  if (error.kind != ErrorKind::kSystem) {
    note_difference(error);
    return;
  }
  pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
  tell_if_away(error.message);
}

// Over a connection of its own: the others are busy.
void RemoteClient::compare_again() {
  const Result<std::unique_ptr<NbdHandle>> handle = connect();
  if (!handle && handle.error().kind != ErrorKind::kSystem) {
    note_difference(handle.error());
  }
}

void RemoteClient::note_difference(const Error& error) {
  if (differs_.exchange(true)) {
    return;
  }
  log_(fmt::format("{}; it is another image than before, so every request fails from now on",
                   error.message));
  refuse(EIO);
}

void RemoteClient::end_soon() {
  is_ending_.store(true, std::memory_order_release);
  look_again();
}

void RemoteClient::look_again() {
  for (const auto& connection : connections_) {
    connection->look_again();
  }
}

void RemoteClient::give_up() {
  refuse(ECANCELED);
  stop_connector();
}

void RemoteClient::stop_connector() {
  {
    const MutexLock lock(mutex_);
    is_stopped_ = true;
  }
  stop_.signal();
  wakeup_.notify_all();
  if (connector_.joinable()) {
    connector_.join();
  }
}

void RemoteClient::refuse(int error_number) {
  refusal_.store(error_number, std::memory_order_release);
  for (const auto& connection : connections_) {
    connection->wake();
  }
}

}  // namespace unionfs
