// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/listening_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>

namespace unionfs {
namespace {

constexpr int kBacklog = 64;  // connections that wait for a place

Failure cannot(const std::string& path, const char* what) {
  const int error_number = errno;
  return system_failure(error_number,
                        fmt::format("control socket {}: cannot {}", quoted_name(path), what));
}

class OwnDescriptor {
 public:
  explicit OwnDescriptor(int number) : number_(number) {}
  ~OwnDescriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  OwnDescriptor(const OwnDescriptor&) = delete;
  OwnDescriptor& operator=(const OwnDescriptor&) = delete;
  int get() const { return number_; }

 private:
  const int number_;
};

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return system_failure(path.empty() ? EINVAL : ENAMETOOLONG,
                          fmt::format("control socket {}: a socket's name has 1 to {} bytes",
                                      quoted_name(path), sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int new_socket() {
  return ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// Fails unless the name is free, or that of a socket on which nobody listens, which is
// what the result tells.
Result<bool> is_stale(const std::string& path, const sockaddr_un& address) {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT ? Result<bool>(false) : cannot(path, "look at it");
  }
  if (!S_ISSOCK(status.st_mode)) {
    return system_failure(
        EEXIST, fmt::format("control socket {}: is there, and no socket", quoted_name(path)));
  }
  const OwnDescriptor probe(new_socket());
  if (probe.get() < 0) {
    return cannot(path, "make a socket");
  }
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EAGAIN) {
    return system_failure(EADDRINUSE, fmt::format("control socket {}: another server listens there",
                                                  quoted_name(path)));
  }
  if (errno == ENOENT) {
    return false;
  }
  return errno == ECONNREFUSED ? Result<bool>(true) : cannot(path, "find out who listens there");
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// Keeps other servers from the same name while it exists.  Any user may hold such a lock on
// a shared directory for ever, so after half a second it goes without.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& path)
      : directory_(
            ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOCTTY)) {
    constexpr int kTries = 50;
    constexpr std::chrono::milliseconds kPause(10);
    for (int i = 0; i < kTries && ::flock(directory_.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
      if (errno != EWOULDBLOCK) {
        break;
      }
      std::this_thread::sleep_for(kPause);
    }
  }

 private:
  const OwnDescriptor directory_;
};

}  // namespace

Result<void> ListeningSocket::check_can_listen(const std::string& path) {
  UNIONFS_ASSIGN(const sockaddr_un address, address_of(path));
  UNIONFS_ASSIGN(const bool stale, is_stale(path, address));
  (void)stale;
  if (::access(directory_of(path).c_str(), W_OK | X_OK) != 0) {
    return cannot(path, "make it in its directory");
  }
  return {};
}

Result<std::unique_ptr<ListeningSocket>> ListeningSocket::listen(const std::string& path) {
  UNIONFS_ASSIGN(const sockaddr_un address, address_of(path));
  const DirectoryLock lock(path);
  UNIONFS_ASSIGN(const bool stale, is_stale(path, address));
  if (stale && ::unlink(path.c_str()) != 0) {
    return cannot(path, "remove what a server has left");
  }
  const int descriptor = new_socket();
  if (descriptor < 0) {
    return cannot(path, "make a socket");
  }
  std::unique_ptr<ListeningSocket> listening(new ListeningSocket(path, descriptor));
  UNIONFS_TRY(listening->bind_and_listen());
  return listening;
}

// Linux gives the file the mode of the descriptor, less the umask, so it never has another.
// Nobody can connect before listen().
Result<void> ListeningSocket::bind_and_listen() {
  constexpr mode_t kMode = S_IRUSR | S_IWUSR;
  UNIONFS_ASSIGN(const sockaddr_un address, address_of(path_));
  if (::fchmod(descriptor_, kMode) != 0) {
    return cannot(path_, "set its mode");
  }
  if (::bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return cannot(path_, "make it");
  }
  struct stat status = {};
  if (::lstat(path_.c_str(), &status) != 0) {
    return cannot(path_, "look at it");
  }
  has_file_ = true;
  device_ = status.st_dev;
  inode_ = status.st_ino;
  if ((status.st_mode & 07777) != kMode && ::chmod(path_.c_str(), kMode) != 0) {
    return cannot(path_, "set its mode");
  }
  if (::listen(descriptor_, kBacklog) != 0) {
    return cannot(path_, "listen on it");
  }
  return {};
}

ListeningSocket::~ListeningSocket() {
  const DirectoryLock lock(path_);
  struct stat status = {};
  if (has_file_ && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
      status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  ::close(descriptor_);
}

bool is_own_peer(int connection) {
  ucred peer = {};
  socklen_t length = sizeof(peer);
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
         (peer.uid == 0 || peer.uid == ::geteuid());
}

}  // namespace unionfs
