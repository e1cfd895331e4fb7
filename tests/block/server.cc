// SPDX-License-Identifier: BSD-3-Clause

#include "server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "client.h"

namespace blocktest {

namespace {

constexpr std::size_t log_tail_bytes = 3000;

std::string describe_status(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("ended by signal {}", WTERMSIG(status));
  }
  return fmt::format("ended with status {}", WEXITSTATUS(status));
}

// After the fork, in the child.
[[noreturn]] void become_server(const std::vector<std::string>& command,
                                const std::string& log_path) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (log < 0 || nothing < 0 || ::dup2(nothing, 0) < 0 || ::dup2(log, 1) < 0 ||
      ::dup2(log, 2) < 0) {
    ::_exit(126);
  }
  // A sanitizer's runtime has to come first in a program that was not built with it.
  if (const char* preload = std::getenv("SANITIZE_PRELOAD");
      preload != nullptr && *preload != '\0') {
    ::setenv("LD_PRELOAD", preload, 1);
    // Told to end, nbdkit leaves its connections as they are.
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
  }
  std::vector<char*> arguments;
  arguments.reserve(command.size() + 1);
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  ::execvp(arguments.front(), arguments.data());
  ::_exit(127);
}

}  // namespace

Server::Server(std::vector<std::string> command, std::string socket_path, std::string log_path)
    : command_(std::move(command)),
      socket_path_(std::move(socket_path)),
      log_path_(std::move(log_path)) {}

Server::~Server() {
  if (started()) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
}

void Server::start() {
  // A killed server leaves its socket, and the next one does not take it over.
  ::unlink(socket_path_.c_str());
  const pid_t child = ::fork();
  if (child < 0) {
    throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
  }
  if (child == 0) {
    become_server(command_, log_path_);
  }
  process_ = child;
}

void Server::send_kill() const {
  ::kill(process_, SIGKILL);
}

void Server::reap_killed() {
  int status = 0;
  ::waitpid(process_, &status, 0);
  process_ = -1;
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
    throw Failure(fmt::format("the server {} before it was killed", describe_status(status)));
  }
}

void Server::stop(std::chrono::seconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  ::kill(process_, SIGTERM);
  int status = 0;
  while (::waitpid(process_, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw Failure(
          fmt::format("the server did not stop within {} s of SIGTERM", patience.count()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  process_ = -1;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Failure(fmt::format("after SIGTERM the server {}", describe_status(status)));
  }
}

void Server::require_alive() {
  int status = 0;
  if (started() && ::waitpid(process_, &status, WNOHANG) == process_) {
    process_ = -1;
    throw Failure(fmt::format("the server {} by itself", describe_status(status)));
  }
}

std::string Server::log_tail() const {
  std::ifstream file(log_path_, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return text.substr(text.size() - std::min(text.size(), log_tail_bytes));
}

}  // namespace blocktest
