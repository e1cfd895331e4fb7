// SPDX-License-Identifier: BSD-3-Clause
//
// Making a range of a file read as zeros, by the best way the host has.
#ifndef UNIONFS_OVERLAY_HOST_ZERO_BYTES_H
#define UNIONFS_OVERLAY_HOST_ZERO_BYTES_H

#include <cstdint>

#include "overlay/host/file.h"

namespace unionfs {

enum class ZeroWay {
  kPunch,      // give the space back; else as kAllocated
  kAllocated,  // keep the space; else as kWrite
  kWrite,      // write zeros
};

// Tries the way asked for, then the next ones when the host has not got it.
Result<void> zero_bytes(WritableFile& file, uint64_t offset, uint64_t length, ZeroWay way);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_ZERO_BYTES_H
