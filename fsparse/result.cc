// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/result.h"

#include <system_error>

namespace unionfs {

Failure make_failure(ErrorKind kind, int error_number, std::string_view message) {
  return Failure(Error{kind, error_number, printable_line(message)});
}

Failure system_failure(int error_number, std::string message) {
  message += ": ";
  message += std::generic_category().message(error_number);  // strerror is not thread-safe
  return make_failure(ErrorKind::kSystem, error_number != 0 ? error_number : EIO, message);
}

}  // namespace unionfs
