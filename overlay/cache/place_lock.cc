// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/place_lock.h"

#include <fcntl.h>

#include <chrono>
#include <thread>

namespace unionfs {
namespace {

constexpr auto kPauseForLock = std::chrono::microseconds(100);
constexpr int kTriesForLock = 5;

}  // namespace

PlaceLock::PlaceLock(const PosixFile& file, uint64_t place) : file_(file), place_(place) {
  for (int tries = 0; tries < kTriesForLock && !is_held_; ++tries) {
    if (tries > 0) {
      std::this_thread::sleep_for(kPauseForLock);
    }
    is_held_ = change(F_WRLCK);
  }
}

PlaceLock::~PlaceLock() {
  if (is_held_) {
    change(F_UNLCK);
  }
}

bool PlaceLock::change(short type) const {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(place_);
  lock.l_len = 1;
  return ::fcntl(file_.descriptor(), F_OFD_SETLK, &lock) == 0;
}

}  // namespace unionfs
