// SPDX-License-Identifier: BSD-3-Clause
//
// A unix socket with a name in the file system, for one user: made, found stale, removed.
#ifndef UNIONFS_OVERLAY_CONTROL_LISTENING_SOCKET_H
#define UNIONFS_OVERLAY_CONTROL_LISTENING_SOCKET_H

#include <sys/types.h>

#include <memory>
#include <string>

#include "fsparse/result.h"

namespace unionfs {

// Not thread-safe.
class ListeningSocket {
 public:
  // Whether listen() would find a place; makes nothing.  EADDRINUSE if somebody listens
  // there.
  static Result<void> check_can_listen(const std::string& path);
  // Makes the socket file with mode 0600 and listens.  A socket file on which nobody listens is
  // replaced; any other file is not.
  static Result<std::unique_ptr<ListeningSocket>> listen(const std::string& path);
  // Removes the file, if the name still stands for it.
  ~ListeningSocket();
  ListeningSocket(const ListeningSocket&) = delete;
  ListeningSocket& operator=(const ListeningSocket&) = delete;

  // Does not block, and is not inherited by programs.
  int descriptor() const { return descriptor_; }

 private:
  ListeningSocket(std::string path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}

  Result<void> bind_and_listen();

  const std::string path_;
  const int descriptor_;
  bool has_file_ = false;
  dev_t device_ = 0;  // of the file
  ino_t inode_ = 0;
};

// Whether the process at the other end of a connection is root's, or of the user that this
// process runs as.
bool is_own_peer(int connection);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_LISTENING_SOCKET_H
