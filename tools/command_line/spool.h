// SPDX-License-Identifier: BSD-3-Clause
//
// Text that is long and must not be told before its end is known to be right.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_SPOOL_H
#define UNIONFS_TOOLS_COMMAND_LINE_SPOOL_H

#include <memory>
#include <string>
#include <string_view>

#include "overlay/host/posix_file.h"

namespace unionfs::img {

// Kept in a nameless file of $TMPDIR, or /var/tmp; in memory where that cannot be written.
class Spool {
 public:
  static Result<std::unique_ptr<Spool>> make();

  // An error shows in copy_to_stdout().
  void add(std::string_view text);
  // All of it, once.
  Result<void> copy_to_stdout();

 private:
  explicit Spool(std::unique_ptr<PosixFile> file) : file_(std::move(file)) {}
  void write_out();

  std::unique_ptr<PosixFile> file_;
  uint64_t length_ = 0;  // in the file
  std::string buffer_;   // behind that
  Result<void> written_;
};

// A nameless file in TMPDIR, or /var/tmp; in memory where that cannot be.
Result<std::unique_ptr<PosixFile>> make_temporary_file();

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_SPOOL_H
