// SPDX-License-Identifier: BSD-3-Clause
//
// Long work on a disk gives way to a client: it looks at a flag that whoever
// opens the disk sets.
#ifndef UNIONFS_OVERLAY_HOST_CANCELLATION_H
#define UNIONFS_OVERLAY_HOST_CANCELLATION_H

#include <atomic>
#include <chrono>

#include "fsparse/result.h"

namespace unionfs {

// ECANCELED once the flag is set.  Thread-safe, and cheap enough for every block.
inline Result<void> check_not_cancelled(const std::atomic<bool>& is_cancelled) {
  if (is_cancelled.load(std::memory_order_relaxed)) {
    return Failure(Error{ErrorKind::kSystem, ECANCELED, "a client came"});
  }
  return {};
}

// While it lives, what its thread waits for at a server far away is over with ECANCELED soon after
// the flag is set.  It belongs to one thread, because an image is read through interfaces that know
// nothing of waiting.
class CancellableWaits {
 public:
  explicit CancellableWaits(const std::atomic<bool>& is_cancelled) : before_(flag()) {
    flag() = &is_cancelled;
  }
  ~CancellableWaits() { flag() = before_; }
  CancellableWaits(const CancellableWaits&) = delete;
  CancellableWaits& operator=(const CancellableWaits&) = delete;

  // Of this thread; nullptr where nothing cancels what it waits for.
  static const std::atomic<bool>* current() { return flag(); }

 private:
  static const std::atomic<bool>*& flag() {
    thread_local const std::atomic<bool>* flag = nullptr;
    return flag;
  }

  const std::atomic<bool>* const before_;
};

// How often who waits so looks at the flag.
constexpr std::chrono::milliseconds kLookAtCancellation(100);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_CANCELLATION_H
