// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/remote/nbdkit_server.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

extern char** environ;

namespace unionfs::testing {

namespace fs = std::filesystem;

NbdkitServer::NbdkitServer(const std::vector<std::string>& arguments) {
  start(arguments);
}

NbdkitServer::~NbdkitServer() {
  kill();
}

void NbdkitServer::kill() {
  if (pid_ != -1) {
    (void)::kill(pid_, SIGKILL);
    (void)::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

void NbdkitServer::start(const std::vector<std::string>& arguments) {
  const std::string pid_file = directory() + "/pid";
  fs::remove(pid_file);
  fs::remove(directory() + "/socket");
  std::vector<std::string> words = {"nbdkit", "--exit-with-parent",   "-f", "-P", pid_file,
                                    "-U",     directory() + "/socket"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  REQUIRE(::posix_spawnp(&pid_, "nbdkit", nullptr, nullptr, pointers.data(), environ) == 0);
  // It is written after listen().
  for (int tries = 0; !fs::exists(pid_file) || fs::file_size(pid_file) == 0; ++tries) {
    REQUIRE(tries < 2000);
    REQUIRE(::waitpid(pid_, nullptr, WNOHANG) == 0);
    ::usleep(5000);
  }
}

}  // namespace unionfs::testing
