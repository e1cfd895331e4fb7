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

 private:
  std::string what_;
  uint64_t total_;
  bool is_terminal_;
  int last_per_mille_ = -1;
};

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_PROGRESS_H
