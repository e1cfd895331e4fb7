// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/control_connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "overlay/control/http_answer.h"

namespace unionfs {
namespace {

bool comes_later(int error_number) {
  return error_number == EAGAIN || error_number == EINTR;
}

}  // namespace

ControlConnection::ControlConnection(int descriptor, uint64_t ticket, size_t most_bytes,
                                     TimePoint deadline)
    : descriptor_(descriptor), ticket_(ticket), most_bytes_(most_bytes), deadline_(deadline) {}

ControlConnection::~ControlConnection() {
  ::close(descriptor_);
}

short ControlConnection::events() const {
  switch (state_) {
    case State::kReceiving:
      return POLLIN;
    case State::kSending:
      return POLLOUT;
    case State::kActing:  // poll(2) tells the end of the client all the same
    case State::kOver:
      break;
  }
  return 0;
}

std::optional<ControlConnection::TimePoint> ControlConnection::deadline() const {
  const bool has_one = state_ == State::kReceiving || state_ == State::kSending;
  return has_one ? std::optional(deadline_) : std::nullopt;
}

std::optional<HttpRequest> ControlConnection::go_on(short events) {
  if (state_ == State::kReceiving) {
    return receive();
  }
  if (state_ == State::kSending) {
    send_rest();
  } else if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0) {
    state_ = State::kOver;
  }
  return std::nullopt;
}

// One read at a time, so that others have their turn.
std::optional<HttpRequest> ControlConnection::receive() {
  std::array<char, 8192> bytes;
  const size_t wanted = std::min(bytes.size(), most_bytes_ - received_.size());
  const ssize_t count = ::recv(descriptor_, bytes.data(), wanted, 0);
  if (count <= 0) {
    state_ = count < 0 && comes_later(errno) ? state_ : State::kOver;
    return std::nullopt;
  }
  received_.append(bytes.data(), static_cast<size_t>(count));
  HttpParsed parsed = parse_http_request(received_, most_bytes_);
  if (auto* request = std::get_if<HttpRequest>(&parsed)) {
    return std::move(*request);
  }
  if (const auto* refusal = std::get_if<HttpRefusal>(&parsed)) {
    answer(http_error(refusal->status, refusal->message), TimePoint::max());
  }
  return std::nullopt;
}

void ControlConnection::begin_action(TimePoint now) {
  state_ = State::kActing;
  time_left_ = deadline_ - now;
}

void ControlConnection::answer(std::string bytes, TimePoint now) {
  if (state_ == State::kActing) {
    deadline_ = now + time_left_;
  }
  state_ = State::kSending;
  to_send_ = std::move(bytes);
  send_rest();
}

void ControlConnection::send_rest() {
  while (sent_bytes_ < to_send_.size()) {
    const ssize_t count = ::send(descriptor_, to_send_.data() + sent_bytes_,
                                 to_send_.size() - sent_bytes_, MSG_NOSIGNAL);
    if (count < 0) {
      state_ = comes_later(errno) ? state_ : State::kOver;
      return;
    }
    sent_bytes_ += static_cast<size_t>(count);
  }
  state_ = State::kOver;
}

void ControlConnection::pass_deadline() {
  if (state_ == State::kReceiving) {
    answer(http_error(408, "the request took too long"), TimePoint::max());
  }
  state_ = State::kOver;
}

}  // namespace unionfs
