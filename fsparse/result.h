// SPDX-License-Identifier: BSD-3-Clause
//
// Errors are values.  An Error says what kind of failure it is, which errno
// stands for it at the edge, and one line that names the image, the object in
// it and the number that is wrong.  It is logged once, by whoever owns the
// edge (the plugin, a tool, a test), never on the way.
//
// Names from images go into a message as quoted_name() gives them.  What is forgotten the
// functions here escape, so that a message is always one line of harmless text.
#ifndef UNIONFS_FSPARSE_RESULT_H
#define UNIONFS_FSPARSE_RESULT_H

#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "fsparse/printable.h"

namespace unionfs {

enum class ErrorKind {
  kCorrupt,      // bytes of an image contradict the format: EIO
  kUnsupported,  // well formed, but a feature or a size we refuse: ENOTSUP
  kInvalid,      // the caller (user, client) asked for something impossible: EINVAL
  kSystem,       // the host refused: the errno it gave
};

struct [[nodiscard]] Error {
  ErrorKind kind;
  int error_number;  // errno value, never 0
  std::string message;
};

template <typename T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

using Failure = tl::unexpected<Error>;

// The message goes through printable_line().
Failure make_failure(ErrorKind kind, int error_number, std::string_view message);

template <typename... Args>
Failure corrupt(fmt::format_string<Args...> format, Args&&... args) {
  return make_failure(ErrorKind::kCorrupt, EIO, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
Failure unsupported(fmt::format_string<Args...> format, Args&&... args) {
  return make_failure(ErrorKind::kUnsupported, ENOTSUP,
                      fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
Failure invalid(fmt::format_string<Args...> format, Args&&... args) {
  return make_failure(ErrorKind::kInvalid, EINVAL,
                      fmt::format(format, std::forward<Args>(args)...));
}

// `error_number` is an errno value; its text is appended to the message.
Failure system_failure(int error_number, std::string message);

}  // namespace unionfs

#define UNIONFS_CONCAT_(a, b) a##b
#define UNIONFS_CONCAT(a, b) UNIONFS_CONCAT_(a, b)

// Evaluates an expression of type Result<void> (or any Result whose value is
// not needed) and returns its error from the enclosing function.
#define UNIONFS_TRY_(temporary, expression)                    \
  do {                                                         \
    auto temporary = (expression);                             \
    if (!temporary) {                                          \
      return ::unionfs::Failure(std::move(temporary).error()); \
    }                                                          \
  } while (false)
#define UNIONFS_TRY(expression) UNIONFS_TRY_(UNIONFS_CONCAT(unionfs_result_, __LINE__), expression)

// UNIONFS_ASSIGN(auto x, f()): the value of f(), or return its error.
#define UNIONFS_ASSIGN_(temporary, declaration, expression)  \
  auto temporary = (expression);                             \
  if (!temporary) {                                          \
    return ::unionfs::Failure(std::move(temporary).error()); \
  }                                                          \
  declaration = std::move(*temporary)
#define UNIONFS_ASSIGN(declaration, expression) \
  UNIONFS_ASSIGN_(UNIONFS_CONCAT(unionfs_result_, __LINE__), declaration, expression)

#endif  // UNIONFS_FSPARSE_RESULT_H
