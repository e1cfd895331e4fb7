// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/invariant.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern char** environ;

namespace unionfs::fuzzing {
namespace {

constexpr size_t kLongestMessage = 2000;

// The exit status of e2fsck, with what it said in `said`; -1 where there is no e2fsck.
int run_e2fsck(int image, std::string& said) {
  const int output = ::memfd_create("e2fsck", 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  std::string path = fmt::format("/proc/self/fd/{}", image);
  char program[] = "e2fsck";
  char flags[] = "-fn";
  char* const arguments[] = {program, flags, path.data(), nullptr};
  pid_t child = 0;
  int status = -1;
  if (posix_spawnp(&child, program, &actions, nullptr, arguments, environ) == 0) {
    ::waitpid(child, &status, 0);
    status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    status = status == 127 ? -1 : status;
  }
  posix_spawn_file_actions_destroy(&actions);
  said.resize(16384);
  said.resize(
      static_cast<size_t>(std::max<ssize_t>(0, ::pread(output, said.data(), said.size(), 0))));
  ::close(output);
  return status;
}

uint64_t fsck_interval() {
  const char* given = std::getenv("FUZZ_FSCK_EVERY");
  const uint64_t every = given != nullptr ? std::strtoull(given, nullptr, 0) : 0;
  return every > 0 ? every : 64;
}

}  // namespace

void broken(const std::string& what) {
  std::fprintf(stderr, "BROKEN: %s\n", what.c_str());
  std::abort();
}

void expect_clear(const Error& error) {
  const std::string& message = error.message;
  // The merged image and the layer that a checkpoint is about to make are no files, and
  // have names all the same.
  const auto& names = {"lower.img", "upper.img", "merged image", "new layer: "};
  const bool is_named = std::any_of(names.begin(), names.end(), [&](const char* name) {
    return message.find(name) != std::string::npos;
  });
  if (!is_named) {
    broken("an error that names no image: " + message);
  }
  if (message.size() > kLongestMessage || error.error_number == 0) {
    broken("an error without an end, or without a number: " + message);
  }
}

std::string first_difference(ConstByteSpan expected, ConstByteSpan found) {
  if (expected.size() != found.size()) {
    return fmt::format("{} bytes instead of {}", found.size(), expected.size());
  }
  if (same_bytes(expected, found)) {
    return "";
  }
  const auto [left, right] = std::mismatch(expected.begin(), expected.end(), found.begin());
  return fmt::format("at {:#x}: {:#x} instead of {:#x}", left - expected.begin(),
                     std::to_integer<unsigned>(*right), std::to_integer<unsigned>(*left));
}

void expect_clean_sometimes(ConstByteSpan image, const std::string& what) {
  static const uint64_t interval = fsck_interval();
  static uint64_t count = 0;
  if (count++ % interval != 0) {
    return;
  }
  const int file = ::memfd_create("image", 0);
  for (ConstByteSpan rest = image; !rest.empty();) {
    const ssize_t written = ::write(file, rest.data(), rest.size());
    if (written <= 0) {
      broken("no memory for an image");
    }
    rest = rest.subspan(static_cast<size_t>(written));
  }
  std::string said;
  const int status = run_e2fsck(file, said);
  ::close(file);
  if (status > 0) {
    broken(fmt::format("e2fsck of {} ends with {}: {}", what, status, said));
  }
}

}  // namespace unionfs::fuzzing
