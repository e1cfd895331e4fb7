// SPDX-License-Identifier: BSD-3-Clause
//
// Locks of a cache file, between processes.
#ifndef UNIONFS_OVERLAY_CACHE_PLACE_LOCK_H
#define UNIONFS_OVERLAY_CACHE_PLACE_LOCK_H

#include <cstdint>

#include "overlay/host/posix_file.h"

namespace unionfs {

// A lock of the open file at one place, which does not tell threads of one process apart.  Waits
// for half a millisecond at most: one that is taken may be somebody's who sleeps.
class PlaceLock {
 public:
  PlaceLock(const PosixFile& file, uint64_t place);
  ~PlaceLock();
  PlaceLock(const PlaceLock&) = delete;
  PlaceLock& operator=(const PlaceLock&) = delete;

  // Whether it is held.
  explicit operator bool() const { return is_held_; }

 private:
  bool change(short type) const;

  const PosixFile& file_;
  const uint64_t place_;
  bool is_held_ = false;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_PLACE_LOCK_H
