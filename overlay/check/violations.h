// SPDX-License-Identifier: BSD-3-Clause
//
// What a check finds wrong with an upper.
#ifndef UNIONFS_OVERLAY_CHECK_VIOLATIONS_H
#define UNIONFS_OVERLAY_CHECK_VIOLATIONS_H

#include <string>
#include <utility>
#include <vector>

#include "fsparse/result.h"

namespace unionfs {

struct Violation {
  std::string message;
  bool can_repair = false;
};

// Whether the upper's bytes are to blame, which are what a check is for.  A host
// that cannot read, and a lower that is damaged, are not: see LowerSide.
inline bool is_of_the_upper(const Error& error) {
  return error.kind == ErrorKind::kCorrupt || error.kind == ErrorKind::kUnsupported;
}

// The violations in the order in which they are found.  Not thread-safe.
class Violations {
 public:
  // Each message begins with the upper's name.  Names go into one as quoted_name() gives
  // them; as in an Error, the rest is escaped here.
  explicit Violations(std::string upper_name) : upper_name_(std::move(upper_name)) {}

  template <typename... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    add_message(fmt::format(format, std::forward<Args>(args)...), false);
  }
  // A violation that a repair can undo, because the right value follows from
  // the layer's inodes and directories.
  template <typename... Args>
  void add_mendable(fmt::format_string<Args...> format, Args&&... args) {
    add_message(fmt::format(format, std::forward<Args>(args)...), true);
  }
  // An error of the upper's bytes, which kept the check from looking at a part of
  // the upper, becomes a violation; its message names the image already.  Every
  // other error ends the check and is returned.
  Result<void> take(const Result<void>& result) {
    if (!result && !is_of_the_upper(result.error())) {
      return result;
    }
    if (!result) {
      list_.push_back({result.error().message, false});
    }
    return {};
  }

  bool empty() const { return list_.empty(); }
  const std::vector<Violation>& list() const { return list_; }

 private:
  void add_message(const std::string& message, bool can_repair) {
    list_.push_back({printable_line(upper_name_ + ": " + message), can_repair});
  }

  std::string upper_name_;
  std::vector<Violation> list_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_VIOLATIONS_H
