// SPDX-License-Identifier: BSD-3-Clause
//
// Long work on a disk gives way to a client: it looks at a flag that whoever
// opens the disk sets.
#ifndef UNIONFS_OVERLAY_HOST_CANCELLATION_H
#define UNIONFS_OVERLAY_HOST_CANCELLATION_H

#include <atomic>

#include "fsparse/result.h"

namespace unionfs {

// ECANCELED once the flag is set.  Thread-safe, and cheap enough for every block.
inline Result<void> check_not_cancelled(const std::atomic<bool>& is_cancelled) {
  if (is_cancelled.load(std::memory_order_relaxed)) {
    return Failure(Error{ErrorKind::kSystem, ECANCELED, "a client came"});
  }
  return {};
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_CANCELLATION_H
