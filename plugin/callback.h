// SPDX-License-Identifier: BSD-3-Clause
//
// How a callback of nbdkit ends: an error becomes an errno and a line of the log, and no
// exception leaves it.
#ifndef UNIONFS_PLUGIN_CALLBACK_H
#define UNIONFS_PLUGIN_CALLBACK_H

#include <errno.h>

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "fsparse/printable.h"
#include "fsparse/result.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

namespace unionfs {

// The last guard against bytes of an image that would steer a terminal or end a line.
inline void log_line(const std::string& message) {
  nbdkit_error("%s", printable_line(message).c_str());
}

inline void debug_line(const std::string& message) {
  nbdkit_debug("%s", printable_line(message).c_str());
}

// Runs what a callback does; `action` returns Result<void>.  0, or -1.
template <typename Action>
int guarded(Action&& action) {
  try {
    const Result<void> result = action();
    if (result) {
      return 0;
    }
    log_line(result.error().message);
    nbdkit_set_error(result.error().error_number);
  } catch (const std::bad_alloc&) {
    nbdkit_error("out of memory");
    nbdkit_set_error(ENOMEM);
  } catch (const std::exception& exception) {
    nbdkit_error("internal error: %s", exception.what());
    nbdkit_set_error(EIO);
  }
  return -1;
}

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_CALLBACK_H
