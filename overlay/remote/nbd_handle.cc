// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/nbd_handle.h"

#include <libnbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <system_error>
#include <utility>

#include "overlay/remote/nbd_uri.h"

namespace unionfs {
namespace {

constexpr uint64_t kWindowBytes = uint64_t{256} << 10;

// For poll(): rounded up, so that it does not return a moment before.
int milliseconds_until(RemoteTime deadline) {
  if (deadline == RemoteTime::max()) {
    return -1;
  }
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 3'600'000));
}

// A peer that has vanished is noticed without a request of ours.  Of no use, and refused, where
// the connection is no TCP.
void keep_alive(int descriptor) {
  const auto set = [descriptor](int level, int option, int value) {
    (void)::setsockopt(descriptor, level, option, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 3);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 15'000);
}

}  // namespace

// ---- an event ------------------------------------------------------------------

WakeEvent::WakeEvent() : descriptor_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ == -1) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
}

WakeEvent::~WakeEvent() {
  (void)::close(descriptor_);
}

void WakeEvent::signal() {
  const uint64_t one = 1;
  // Fails only where it is readable already.
  [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof(one));
}

void WakeEvent::clear() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t taken = ::read(descriptor_, &count, sizeof(count));
}

// ---- connecting ----------------------------------------------------------------

NbdHandle::NbdHandle(std::string uri)
    : uri_(std::move(uri)), shown_(shown_nbd_uri(uri_)), handle_(nbd_create()) {}

NbdHandle::~NbdHandle() {
  if (handle_ == nullptr) {
    return;
  }
  if (nbd_aio_is_ready(handle_) == 1) {
    (void)nbd_aio_disconnect(handle_, 0);  // the server sees an end, not a broken connection
  }
  nbd_close(handle_);
}

Result<std::unique_ptr<NbdHandle>> NbdHandle::connect(const std::string& uri, RemoteTime deadline,
                                                      const WakeEvent& stop) {
  std::unique_ptr<NbdHandle> handle(new NbdHandle(uri));
  UNIONFS_TRY(handle->begin_connecting());
  UNIONFS_TRY(
      handle->drive([&] { return nbd_aio_is_connecting(handle->get()) != 1; }, deadline, stop));
  if (nbd_aio_is_ready(handle->get()) != 1) {
    return handle->failure();
  }
  keep_alive(handle->descriptor());
  UNIONFS_TRY(handle->learn());
  return handle;
}

Result<void> NbdHandle::begin_connecting() {
  const bool is_set = handle_ != nullptr && nbd_set_uri_allow_local_file(handle_, true) != -1 &&
                      nbd_set_pread_initialize(handle_, false) != -1 &&
                      nbd_add_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION) != -1;
  return is_set && nbd_aio_connect_uri(handle_, uri_.c_str()) != -1 ? Result<void>() : failure();
}

Result<void> NbdHandle::learn() {
  const int64_t size = nbd_get_size(handle_);
  const int64_t minimum = nbd_get_block_size(handle_, LIBNBD_SIZE_MINIMUM);
  const int64_t maximum = nbd_get_block_size(handle_, LIBNBD_SIZE_MAXIMUM);
  if (size == -1 || minimum == -1 || maximum == -1) {
    return failure();
  }
  about_.size_bytes = static_cast<uint64_t>(size);
  about_.minimum_bytes = static_cast<uint32_t>(std::max<int64_t>(minimum, 1));
  if (!std::has_single_bit(about_.minimum_bytes) || about_.minimum_bytes > kMaxRemoteReadBytes) {
    return unsupported("{}: the server wants reads of {} bytes at least", shown_, minimum);
  }
  const int64_t most =
      maximum == 0 ? kMaxRemoteReadBytes : std::min<int64_t>(maximum, kMaxRemoteReadBytes);
  about_.maximum_bytes = static_cast<uint32_t>(most / about_.minimum_bytes * about_.minimum_bytes);
  if (about_.maximum_bytes == 0) {
    return unsupported("{}: the server wants reads of {} bytes at least and {} at most", shown_,
                       minimum, maximum);
  }
  if (about_.size_bytes % about_.minimum_bytes != 0) {
    return unsupported(
        "{}: has {} bytes, but the server reads only multiples of {}, so the tail cannot be read",
        shown_, about_.size_bytes, about_.minimum_bytes);
  }
  about_.allows_many_connections = nbd_can_multi_conn(handle_) == 1;
  about_.has_block_status = nbd_can_meta_context(handle_, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  about_.is_read_only = nbd_is_read_only(handle_) == 1;
  if (char* const name = nbd_get_export_name(handle_); name != nullptr) {
    about_.name = name;
    ::free(name);
  }
  return {};
}

// ---- events --------------------------------------------------------------------

bool NbdHandle::is_dead() const {
  return nbd_aio_is_dead(handle_) == 1 || nbd_aio_is_closed(handle_) == 1;
}

int NbdHandle::descriptor() const {
  return nbd_aio_get_fd(handle_);
}

short NbdHandle::wanted_events() const {
  const unsigned direction = nbd_aio_get_direction(handle_);
  unsigned events = (direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0;
  events |= (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0;
  return static_cast<short>(events);
}

void NbdHandle::proceed(short events) {
  const unsigned direction = nbd_aio_get_direction(handle_);
  const bool reads = (direction & LIBNBD_AIO_DIRECTION_READ) != 0;
  const bool writes = (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0;
  const bool is_broken = (events & (POLLERR | POLLHUP | POLLNVAL)) != 0;
  if (reads && ((events & POLLIN) != 0 || is_broken)) {
    (void)nbd_aio_notify_read(handle_);
  } else if (writes && ((events & POLLOUT) != 0 || is_broken)) {
    (void)nbd_aio_notify_write(handle_);
  }
}

void NbdHandle::kill() {
  constexpr int kPauseMilliseconds = 10;
  if (!is_dead()) {
    (void)::shutdown(descriptor(), SHUT_RDWR);
  }
  while (!is_dead()) {
    pollfd entry = {descriptor(), wanted_events(), 0};
    if (::poll(&entry, 1, kPauseMilliseconds) > 0) {
      proceed(entry.revents);
    }
  }
}

template <typename Predicate>
Result<void> NbdHandle::drive(Predicate&& is_done, RemoteTime deadline, const WakeEvent& stop) {
  while (!is_done()) {
    if (is_dead()) {
      return failure();
    }
    std::array<pollfd, 2> entries = {
        {{descriptor(), wanted_events(), 0}, {stop.descriptor(), POLLIN, 0}}};
    const int ready = ::poll(entries.data(), entries.size(), milliseconds_until(deadline));
    if (entries[1].revents != 0) {
      return system_failure(ECANCELED, shown_);
    }
    if (ready == 0) {
      return system_failure(ETIMEDOUT, shown_);
    }
    if (ready > 0) {
      proceed(entries[0].revents);
    }
  }
  return {};
}

// ---- reading -------------------------------------------------------------------

Result<void> NbdHandle::read(uint64_t offset, ByteSpan buffer, RemoteTime deadline,
                             const WakeEvent& stop) {
  struct Answer {
    bool is_there = false;
    int error = 0;
  } answer;
  nbd_completion_callback completion = {};
  completion.user_data = &answer;
  completion.callback = [](void* data, int* error) {
    *static_cast<Answer*>(data) = {true, *error};
    return 1;
  };
  if (nbd_aio_pread(handle_, buffer.data(), buffer.size(), offset, completion, 0) == -1) {
    return failure();
  }
  const Result<void> driven = drive([&] { return answer.is_there; }, deadline, stop);
  if (!answer.is_there) {
    kill();
    return driven;
  }
  return answer.error == 0
             ? Result<void>()
             : system_failure(answer.error, fmt::format("{}: {} bytes at {} cannot be read", shown_,
                                                        buffer.size(), offset));
}

std::string NbdHandle::last_message() const {
  const char* said = nbd_get_error();
  return said == nullptr ? "no connection" : with_shown_uri(said, uri_);
}

Failure NbdHandle::failure() const {
  const int number = nbd_get_errno();
  return make_failure(ErrorKind::kSystem, number == 0 ? EIO : number,
                      fmt::format("{}: {}", shown_, last_message()));
}

Result<void> HandleImage::fill_window(uint64_t offset) const {
  const RemoteExport& about = handle_.about();
  const uint64_t most = std::min<uint64_t>(std::max<uint64_t>(kWindowBytes, about.minimum_bytes),
                                           about.maximum_bytes);
  window_offset_ = offset / about.minimum_bytes * about.minimum_bytes;
  window_.resize(std::min(most, about.size_bytes - window_offset_));
  return handle_.read(window_offset_, window_, deadline_, stop_);
}

Result<void> HandleImage::read(uint64_t offset, ByteSpan buffer) const {
  if (offset > size_bytes() || buffer.size() > size_bytes() - offset) {
    return corrupt("{}: ends at offset {}, before {} bytes at {}", name(), size_bytes(),
                   buffer.size(), offset);
  }
  while (!buffer.empty()) {
    if (offset < window_offset_ || offset >= window_offset_ + window_.size()) {
      if (Result<void> filled = fill_window(offset); !filled) {
        window_.clear();
        return filled;
      }
    }
    const size_t skip = offset - window_offset_;
    const size_t count = std::min(buffer.size(), window_.size() - skip);
    std::memcpy(buffer.data(), window_.data() + skip, count);
    buffer = buffer.subspan(count);
    offset += count;
  }
  return {};
}

}  // namespace unionfs
