// SPDX-License-Identifier: BSD-3-Clause
//
// How far a long command is.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_PROGRESS_H
#define UNIONFS_TOOLS_COMMAND_LINE_PROGRESS_H

#include <cstdint>
#include <string>

namespace unionfs::img {

// A line on stderr, renewed in place; silent unless stderr is a terminal.
class Progress {
 public:
  Progress(std::string what, uint64_t total);
  ~Progress();
  void show(uint64_t done);
  // Where the total shows only now.
  void show(uint64_t done, uint64_t total) {
    total_ = total;
    show(done);
  }

 private:
  std::string what_;
  uint64_t total_;
  bool is_terminal_;
  int last_per_mille_ = -1;
};

// The same where nobody knows how much there is: how much was read.
class ReadProgress {
 public:
  ReadProgress();
  ~ReadProgress() { erase(); }
  ReadProgress(const ReadProgress&) = delete;
  ReadProgress& operator=(const ReadProgress&) = delete;
  void add(uint64_t bytes);
  // Makes room for another line.
  void erase();

 private:
  uint64_t bytes_ = 0;
  bool is_terminal_;
  std::string shown_;
};

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_PROGRESS_H
