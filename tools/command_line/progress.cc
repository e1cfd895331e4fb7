// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "tools/command_line/text.h"

namespace unionfs::img {

Progress::Progress(std::string what, uint64_t total)
    : what_(std::move(what)), total_(total), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (last_per_mille_ >= 0) {
    (void)std::fputs("\r\033[K", stderr);
  }
}

void Progress::show(uint64_t done) {
  if (!is_terminal_ || total_ == 0) {
    return;
  }
  const int per_mille =
      static_cast<int>(static_cast<double>(done) * 1000 / static_cast<double>(total_));
  if (per_mille != last_per_mille_) {
    last_per_mille_ = per_mille;
    (void)std::fputs(fmt::format("\r{}: {:.1f} %", what_, per_mille / 10.0).c_str(), stderr);
    (void)std::fflush(stderr);
  }
}

ReadProgress::ReadProgress() : is_terminal_(::isatty(STDERR_FILENO) == 1) {}

void ReadProgress::add(uint64_t bytes) {
  bytes_ += bytes;
  if (!is_terminal_) {
    return;
  }
  std::string text = fmt::format("{} read", human_size(bytes_));
  if (text != shown_) {
    shown_ = std::move(text);
    (void)std::fputs(("\r\033[K" + shown_).c_str(), stderr);
    (void)std::fflush(stderr);
  }
}

void ReadProgress::erase() {
  if (!shown_.empty()) {
    shown_.clear();
    (void)std::fputs("\r\033[K", stderr);
  }
}

}  // namespace unionfs::img
