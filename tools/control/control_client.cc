// SPDX-License-Identifier: BSD-3-Clause
#include "tools/control/control_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "overlay/host/scope_exit.h"

namespace unionfs::img {
namespace {

constexpr int kConflict = 409;
constexpr int kUnavailable = 503;

Failure cannot_ask(const std::string& path, const char* what) {
  const int error_number = errno;
  return system_failure(error_number, fmt::format("{}: {}", printable(path), what));
}

Result<void> connect_to(int connection, const std::string& path) {
  constexpr int kTries = 50;
  constexpr std::chrono::milliseconds kPause(20);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return cannot_ask(path, "is no name of a socket");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  for (int i = 0;; ++i) {
    if (::connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
      return {};
    }
    const bool may_be_starting = errno == ENOENT || errno == ECONNREFUSED;
    if (!may_be_starting || i == kTries) {
      return cannot_ask(path, "no server answers there");
    }
    std::this_thread::sleep_for(kPause);
  }
}

// Of a server that wants no more; what it has said before tells why.
bool is_end(int error_number) {
  return error_number == EPIPE || error_number == ECONNRESET;
}

Result<void> send_all(int connection, const std::string& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count < 0 && is_end(errno)) {
      return {};
    }
    if (count < 0) {
      return cannot_ask(path, "the server does not take the request");
    }
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return {};
}

Result<std::string> receive_all(int connection, const std::string& path) {
  constexpr size_t kMostBytes = 16 << 20;
  std::string all;
  std::array<char, 65536> bytes;
  while (all.size() < kMostBytes) {
    const ssize_t count = ::recv(connection, bytes.data(), bytes.size(), 0);
    if (count == 0 || (count < 0 && is_end(errno))) {
      return all;
    }
    if (count < 0 && errno != EINTR) {
      return cannot_ask(path, "the server does not answer");
    }
    all.append(bytes.data(), static_cast<size_t>(std::max<ssize_t>(count, 0)));
  }
  return invalid("{}: the answer has no end", printable(path));
}

}  // namespace

Result<std::string> body_of_answer(const std::string& socket_path, std::string_view answer) {
  constexpr std::string_view kBegin = "HTTP/1.1 ";
  constexpr std::string_view kHeadEnd = "\r\n\r\n";
  const size_t head_size = answer.find(kHeadEnd);
  int status = 0;
  if (answer.starts_with(kBegin)) {
    std::from_chars(answer.data() + kBegin.size(), answer.data() + answer.size(), status);
  }
  if (head_size == std::string_view::npos || status == 0) {
    return answer.empty() ? invalid("{}: the server has ended, or does not serve this user",
                                    printable(socket_path))
                          : invalid("{}: this is no control socket", printable(socket_path));
  }
  const std::string_view body = answer.substr(head_size + kHeadEnd.size());
  if (status == 200) {
    return std::string(body);
  }
  const auto json = nlohmann::json::parse(body, nullptr, false);
  const bool has_words = json.is_object() && json.contains("error") && json["error"].is_string();
  const bool is_for_later = status == kConflict || status == kUnavailable;
  return make_failure(ErrorKind::kSystem, is_for_later ? EBUSY : EIO,
                      fmt::format("{}: {}", printable(socket_path),
                                  has_words ? json["error"].get<std::string>()
                                            : fmt::format("answered with {}", status)));
}

Result<std::string> ask_server(const std::string& socket_path, std::string_view method,
                               std::string_view target, std::string_view body, bool is_quick) {
  const timeval patience{10, 0};
  const int connection = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) {
    return cannot_ask(socket_path, "no socket can be made");
  }
  const ScopeExit close_it([&] { ::close(connection); });
  ::setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (is_quick) {
    ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  UNIONFS_TRY(connect_to(connection, socket_path));
  UNIONFS_TRY(send_all(connection, socket_path,
                       fmt::format("{} {} HTTP/1.1\r\nHost: disk\r\nContent-Length: {}\r\n\r\n{}",
                                   method, target, body.size(), body)));
  UNIONFS_ASSIGN(const std::string answer, receive_all(connection, socket_path));
  return body_of_answer(socket_path, answer);
}

}  // namespace unionfs::img
