// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/remote_connection.h"

#include <libnbd.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace unionfs {
namespace {

constexpr size_t kMostBytesInFlight = size_t{64} << 20;
// A piece that waits at a connection without a handle looks for another one.
constexpr auto kLookAgain = std::chrono::milliseconds(50);
constexpr uint64_t kBytesOfInquiry = uint64_t{1} << 30;
// What nobody wants and is in flight keeps its connection for so long.
constexpr std::chrono::milliseconds kTimeOfCancelled(1'000);
constexpr std::chrono::milliseconds kNoTime(0);

bool is_cancelled(const RemotePiece& piece) {
  return piece.is_cancelled != nullptr && piece.is_cancelled->load(std::memory_order_relaxed);
}

}  // namespace

// ---- waiting -------------------------------------------------------------------

void RemoteWait::done(int error) {
  if (error != 0) {
    error_.store(error, std::memory_order_relaxed);
  }
  if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    (void)::sem_post(&is_over_);
  }
}

void RemoteWait::wait() {
  while (::sem_wait(&is_over_) != 0) {
  }
}

bool RemoteWait::wait_for(std::chrono::milliseconds time) {
  timespec until = {};
  (void)::clock_gettime(CLOCK_MONOTONIC, &until);
  const auto nanoseconds = std::chrono::nanoseconds(time).count() + until.tv_nsec;
  until.tv_sec += nanoseconds / 1'000'000'000;
  until.tv_nsec = nanoseconds % 1'000'000'000;
  return ::sem_clockwait(&is_over_, CLOCK_MONOTONIC, &until) == 0;
}

// ---- holes ---------------------------------------------------------------------

// Asks for one stretch after the other, one at a time, beside what clients read.
struct RemoteConnection::HolesInquiry {
  HoleMap map;
  uint64_t offset = 0;    // up to which it is known
  uint64_t received = 0;  // up to which the answer that comes in tells
  bool is_in_flight = false;
  bool has_failed = false;

  void take(const uint32_t* entries, size_t count) {
    for (size_t i = 0; i + 1 < count; i += 2) {
      if ((entries[i + 1] & LIBNBD_STATE_ZERO) != 0) {
        map.add(received, received + entries[i]);
      }
      received += entries[i];
    }
  }
};

void RemoteConnection::ask_for_holes() {
  const uint64_t size = handle_->about().size_bytes;
  HolesInquiry& inquiry = *inquiry_;
  if (inquiry.has_failed || inquiry.offset >= size) {
    if (!inquiry.has_failed) {
      owner_.holes_known(this, std::make_shared<const HoleMap>(std::move(inquiry.map)));
    }
    inquiry_.reset();
    return;
  }
  inquiry.received = inquiry.offset;
  nbd_extent_callback extents = {};
  extents.user_data = &inquiry;
  extents.callback = [](void* data, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
    static_cast<HolesInquiry*>(data)->take(entries, count);
    return 0;
  };
  nbd_completion_callback completion = {};
  completion.user_data = &inquiry;
  completion.callback = [](void* data, int* error) {
    auto& answered = *static_cast<HolesInquiry*>(data);
    answered.is_in_flight = false;
    answered.has_failed = *error != 0 || answered.received <= answered.offset;
    answered.offset = answered.received;
    return 1;
  };
  inquiry.is_in_flight = true;
  if (nbd_aio_block_status(handle_->get(), std::min(kBytesOfInquiry, size - inquiry.offset),
                           inquiry.offset, extents, completion, 0) == -1) {
    inquiry_.reset();
  }
}

// ---- from other threads --------------------------------------------------------

RemoteConnection::RemoteConnection(RemoteConnectionOwner& owner)
    : owner_(owner), thread_([this] { run(); }) {}

void RemoteConnection::stop() {
  is_stopped_.store(true);
  event_.signal();
  if (thread_.joinable()) {
    thread_.join();
  }
  // What another connection passed on behind the thread's last look.
  take_what_came();
  fail_all(ESHUTDOWN);
}

void RemoteConnection::push(RemotePiece& piece) {
  load_.fetch_add(1, std::memory_order_relaxed);
  bool was_empty = false;
  {
    const MutexLock lock(mutex_);
    was_empty = came_.empty();
    came_.push_back(&piece);
  }
  if (was_empty) {
    event_.signal();
  }
}

void RemoteConnection::offer(std::unique_ptr<NbdHandle> handle, bool asks_for_holes) {
  {
    const MutexLock lock(mutex_);
    offered_ = std::move(handle);
    offered_asks_ = asks_for_holes;
  }
  is_up_.store(true, std::memory_order_release);
  event_.signal();
}

void RemoteConnection::look_again() {
  has_to_look_.store(true, std::memory_order_release);
  event_.signal();
}

// ---- the thread ----------------------------------------------------------------

void RemoteConnection::run() {
  while (!is_stopped_.load()) {
    take_what_came();
    if (const int refusal = owner_.refusal(); refusal != 0) {
      fail_all(refusal);
    }
    if (has_to_look_.exchange(false, std::memory_order_acquire)) {
      shorten_all();
    }
    expire(std::chrono::steady_clock::now());
    if (handle_ != nullptr) {
      send();
    } else {
      pass_on();
    }
    wait_for_something(std::chrono::steady_clock::now());
    settle();
  }
}

void RemoteConnection::take_what_came() {
  const MutexLock lock(mutex_);
  for (RemotePiece* piece : came_) {
    shorten(*piece, kNoTime);
    earliest_ = std::min(earliest_, piece->deadline);
    waiting_.push_back(piece);
  }
  came_.clear();
  if (offered_ != nullptr && handle_ == nullptr) {
    handle_ = std::move(offered_);
    inquiry_ = offered_asks_ ? std::make_shared<HolesInquiry>() : nullptr;
  }
}

// `rest`: of what is cancelled.
void RemoteConnection::shorten(RemotePiece& piece, std::chrono::milliseconds rest) const {
  const auto most = is_cancelled(piece) ? std::optional(rest) : owner_.most_time();
  if (most) {
    piece.deadline = std::min(piece.deadline, std::chrono::steady_clock::now() + *most);
  }
}

void RemoteConnection::shorten_all() {
  for (RemotePiece* piece : waiting_) {
    shorten(*piece, kNoTime);
  }
  for (RemotePiece* piece : in_flight_) {
    shorten(*piece, kTimeOfCancelled);
  }
  earliest_ = next_deadline();
}

void RemoteConnection::finish(RemotePiece& piece, int error) {
  load_.fetch_sub(1, std::memory_order_relaxed);
  piece.wait->done(error);
}

// What is in flight comes back before anything of it is answered.
void RemoteConnection::expire(RemoteTime now) {
  if (now < earliest_) {
    return;
  }
  const auto is_over = [now](const RemotePiece* piece) { return piece->deadline <= now; };
  if (std::any_of(in_flight_.begin(), in_flight_.end(), is_over)) {
    handle_->kill();
    settle();
  }
  const auto over = std::stable_partition(
      waiting_.begin(), waiting_.end(), [&](const RemotePiece* piece) { return !is_over(piece); });
  std::for_each(over, waiting_.end(), [this](RemotePiece* piece) { finish(*piece, ETIMEDOUT); });
  waiting_.erase(over, waiting_.end());
  earliest_ = next_deadline();
}

RemoteTime RemoteConnection::next_deadline() const {
  RemoteTime earliest = RemoteTime::max();
  for (const auto* pieces : {&waiting_, &in_flight_}) {
    for (const RemotePiece* piece : *pieces) {
      earliest = std::min(earliest, piece->deadline);
    }
  }
  return earliest;
}

void RemoteConnection::send() {
  if (inquiry_ != nullptr && !inquiry_->is_in_flight) {
    ask_for_holes();
  }
  size_t sent = 0;
  while (sent < waiting_.size()) {
    RemotePiece& piece = *waiting_[sent];
    const bool is_room =
        in_flight_.empty() || in_flight_bytes_ + piece.buffer.size() <= kMostBytesInFlight;
    if (!is_room || !send_piece(piece)) {
      break;
    }
    ++sent;
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(sent));
}

// libnbd may answer before it returns.
bool RemoteConnection::send_piece(RemotePiece& piece) {
  piece.connection = this;
  piece.index = in_flight_.size();
  in_flight_.push_back(&piece);
  in_flight_bytes_ += piece.buffer.size();
  nbd_completion_callback completion = {};
  completion.user_data = &piece;
  completion.callback = [](void* data, int* error) {
    auto& answered = *static_cast<RemotePiece*>(data);
    answered.error = *error;
    answered.connection->answered_.push_back(&answered);
    return 1;
  };
  if (nbd_aio_pread(handle_->get(), piece.buffer.data(), piece.buffer.size(), piece.offset,
                    completion, 0) != -1) {
    return true;
  }
  in_flight_.pop_back();
  in_flight_bytes_ -= piece.buffer.size();
  return false;  // the connection is gone, or libnbd has no memory: it waits
}

void RemoteConnection::wait_for_something(RemoteTime now) {
  RemoteTime until = earliest_;
  if (handle_ == nullptr && !waiting_.empty()) {
    until = std::min(until, now + kLookAgain);
  }
  if (!answered_.empty() || (handle_ != nullptr && handle_->is_dead())) {
    until = now;
  }
  int timeout = -1;
  if (until != RemoteTime::max()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
    timeout = static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
  }
  std::array<pollfd, 2> entries = {{{event_.descriptor(), POLLIN, 0}, {-1, 0, 0}}};
  if (handle_ != nullptr && !handle_->is_dead()) {
    entries[1] = {handle_->descriptor(), handle_->wanted_events(), 0};
  }
  if (::poll(entries.data(), entries.size(), timeout) <= 0) {
    return;
  }
  if (entries[0].revents != 0) {
    event_.clear();
  }
  if (entries[1].revents != 0) {
    handle_->proceed(entries[1].revents);
  }
}

// What libnbd has given back is answered, or waits again where only the connection failed.
void RemoteConnection::settle() {
  const bool is_lost = handle_ != nullptr && handle_->is_dead();
  std::vector<RemotePiece*> again;
  bool is_shutting_down = false;
  for (RemotePiece* piece : answered_) {
    in_flight_[piece->index] = in_flight_.back();
    in_flight_[piece->index]->index = piece->index;
    in_flight_.pop_back();
    in_flight_bytes_ -= piece->buffer.size();
    is_shutting_down |= piece->error == ESHUTDOWN;
    if (piece->error != 0 && (is_lost || piece->error == ESHUTDOWN)) {
      again.push_back(piece);
    } else {
      finish(*piece, piece->error);
    }
  }
  answered_.clear();
  waiting_.insert(waiting_.begin(), again.begin(), again.end());
  if (is_lost) {
    lose_handle();
  } else if (is_shutting_down) {
    handle_->kill();
    settle();
  }
}

void RemoteConnection::lose_handle() {
  const std::string message = handle_->last_message();
  inquiry_.reset();
  handle_.reset();
  is_up_.store(false, std::memory_order_release);
  owner_.holes_forgotten(this);
  owner_.connection_lost(message);
}

void RemoteConnection::pass_on() {
  if (waiting_.empty()) {
    return;
  }
  RemoteConnection* other = owner_.connection_in_use();
  if (other == nullptr || other == this) {
    return;
  }
  for (RemotePiece* piece : std::exchange(waiting_, {})) {
    load_.fetch_sub(1, std::memory_order_relaxed);
    other->push(*piece);
  }
}

void RemoteConnection::fail_all(int error) {
  const bool is_asking = inquiry_ != nullptr && inquiry_->is_in_flight;
  if (handle_ != nullptr && (!in_flight_.empty() || is_asking)) {
    handle_->kill();
    settle();
  }
  for (RemotePiece* piece : std::exchange(waiting_, {})) {
    finish(*piece, error);
  }
}

}  // namespace unionfs
