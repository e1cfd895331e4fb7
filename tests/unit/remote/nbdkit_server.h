// SPDX-License-Identifier: BSD-3-Clause
//
// An nbdkit of its own for a test, which can be killed and started again.
#ifndef UNIONFS_TESTS_UNIT_REMOTE_NBDKIT_SERVER_H
#define UNIONFS_TESTS_UNIT_REMOTE_NBDKIT_SERVER_H

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/unit/support/real_image.h"

namespace unionfs::testing {

class NbdkitServer {
 public:
  // `arguments`: nbdkit's, behind those for the socket.  Returns when it accepts.
  explicit NbdkitServer(const std::vector<std::string>& arguments);
  ~NbdkitServer();
  NbdkitServer(const NbdkitServer&) = delete;
  NbdkitServer& operator=(const NbdkitServer&) = delete;

  // SIGKILL.
  void kill();
  // Once more, at the same address.
  void start(const std::vector<std::string>& arguments);
  std::string uri() const { return "nbd+unix:///?socket=" + directory() + "/socket"; }

 private:
  std::string directory() const { return scratch_.path().string(); }

  const ScratchDirectory scratch_;
  pid_t pid_ = -1;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_REMOTE_NBDKIT_SERVER_H
