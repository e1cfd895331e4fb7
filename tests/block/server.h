// SPDX-License-Identifier: BSD-3-Clause
//
// A server process that a test starts, kills and starts again.

#ifndef TESTS_BLOCK_SERVER_H
#define TESTS_BLOCK_SERVER_H

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace blocktest {

// Not thread-safe, but for send_kill().
class Server {
 public:
  // The command must stay in the foreground and listen on the socket. What it prints is appended to
  // the log.
  Server(std::vector<std::string> command, std::string socket_path, std::string log_path);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void start();
  bool started() const { return process_ > 0; }
  // SIGKILL without waiting; may be called from another thread.
  void send_kill() const;
  // Waits for the end of a server that was sent SIGKILL, and throws Failure if it had ended by
  // itself before.
  void reap_killed();
  // SIGTERM; throws Failure unless the server ends with status 0 in time.
  void stop(std::chrono::seconds patience);
  // Throws Failure if the server ended by itself.
  void require_alive();

  std::string log_tail() const;

 private:
  std::vector<std::string> command_;
  std::string socket_path_;
  std::string log_path_;
  pid_t process_ = -1;
};

}  // namespace blocktest

#endif
