// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/result.h"

#include <system_error>

namespace unionfs {

Failure system_failure(int error_number, std::string message) {
  message += ": ";
  message += std::generic_category().message(error_number);  // strerror is not thread-safe
  return Failure(
      Error{ErrorKind::kSystem, error_number != 0 ? error_number : EIO, std::move(message)});
}

}  // namespace unionfs
