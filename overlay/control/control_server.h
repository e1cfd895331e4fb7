// SPDX-License-Identifier: BSD-3-Clause
//
// The server of the control socket: HTTP/1.1 with JSON over a unix socket, for local
// programs of the same user.  docs/control.md says what it answers, and why it is an own one.
//
// One thread has the socket and all connections, and one more does what takes long.  A
// connection is a state machine: its request comes in, its action is done, its answer goes out,
// and it is closed.  All that a client can make grow has a bound.
#ifndef UNIONFS_OVERLAY_CONTROL_CONTROL_SERVER_H
#define UNIONFS_OVERLAY_CONTROL_CONTROL_SERVER_H

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "fsparse/result.h"
#include "overlay/control/control_actions.h"

namespace unionfs {

// The defaults are those of docs/control.md; tests have others.
struct ControlLimits {
  unsigned connections = 8;              // at once; more wait in the kernel
  size_t request_bytes = 8192;           // head and body
  std::chrono::milliseconds time{5000};  // of a connection, without the time of its action
  unsigned waiting_actions = 4;
};

class ControlServer {
 public:
  // Whether start() would find a place for the socket; makes nothing.
  static Result<void> check_can_start(const std::string& path);
  // Makes the socket file and the threads, so it belongs behind a fork.  `actions` outlives the
  // server.
  static Result<std::unique_ptr<ControlServer>> start(const std::string& path,
                                                      ControlActions& actions,
                                                      ControlLimits limits = {});
  // Removes the socket file, closes all connections, and waits for the action that has begun.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  class Loop;

  explicit ControlServer(std::unique_ptr<Loop> loop);

  const std::unique_ptr<Loop> loop_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_CONTROL_SERVER_H
