// SPDX-License-Identifier: BSD-3-Clause
//
// One connection of the control socket: a request, an answer, the end.
#ifndef UNIONFS_OVERLAY_CONTROL_CONTROL_CONNECTION_H
#define UNIONFS_OVERLAY_CONTROL_CONTROL_CONNECTION_H

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "overlay/control/http_request.h"

namespace unionfs {

// Not thread-safe.  No call blocks.
class ControlConnection {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // Owns the descriptor, which must not block.
  ControlConnection(int descriptor, uint64_t ticket, size_t most_bytes, TimePoint deadline);
  ~ControlConnection();
  ControlConnection(const ControlConnection&) = delete;
  ControlConnection& operator=(const ControlConnection&) = delete;

  int descriptor() const { return descriptor_; }
  // No other connection has it.
  uint64_t ticket() const { return ticket_; }
  bool is_over() const { return state_ == State::kOver; }
  bool is_waiting_for_action() const { return state_ == State::kActing; }
  // What to poll for.
  short events() const;
  // When pass_deadline() is due; none while the action is done.
  std::optional<TimePoint> deadline() const;

  // The descriptor has one of `events`.  A request that is whole is returned, once;
  // then comes answer(), or begin_action() and later answer().
  std::optional<HttpRequest> go_on(short events);
  void begin_action(TimePoint now);
  // Begins to send.
  void answer(std::string bytes, TimePoint now);
  // The time is up.
  void pass_deadline();

 private:
  enum class State { kReceiving, kActing, kSending, kOver };

  std::optional<HttpRequest> receive();
  void send_rest();

  const int descriptor_;
  const uint64_t ticket_;
  const size_t most_bytes_;
  State state_ = State::kReceiving;
  TimePoint deadline_;
  std::chrono::steady_clock::duration time_left_{};  // while the action is done
  std::string received_;
  std::string to_send_;
  size_t sent_bytes_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_CONTROL_CONNECTION_H
