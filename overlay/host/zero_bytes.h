// SPDX-License-Identifier: BSD-3-Clause
//
// Making a range of a file read as zeros, by the best way the host has.
#ifndef UNIONFS_OVERLAY_HOST_ZERO_BYTES_H
#define UNIONFS_OVERLAY_HOST_ZERO_BYTES_H

#include <cstdint>

#include "overlay/host/file.h"

namespace unionfs {

enum class ZeroWay {
  kPunch,      // give the space back; else as kAllocated, but leave holes alone
  kAllocated,  // keep the space, or take it; else as kWrite
  kWrite,      // write zeros
};

// Goes the way asked for, and when the host does not offer it, the next one.
// Safe for concurrent use by multiple threads, as the file is.
Result<void> zero_bytes(WritableFile& file, uint64_t offset, uint64_t length, ZeroWay way);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_ZERO_BYTES_H
