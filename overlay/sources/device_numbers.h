// SPDX-License-Identifier: BSD-3-Clause
//
// The numbers of devices that ext2 and Linux can store: 12 bits and 20.
#ifndef UNIONFS_OVERLAY_SOURCES_DEVICE_NUMBERS_H
#define UNIONFS_OVERLAY_SOURCES_DEVICE_NUMBERS_H

#include <cstdint>
#include <string_view>

#include "overlay/tree/file_state.h"

namespace unionfs {

// kInvalid for other ones.  `where` begins the message.
inline Result<void> put_device_numbers(FileState& state, uint64_t major_number,
                                       uint64_t minor_number, std::string_view where) {
  constexpr uint64_t kMostMajor = (1 << 12) - 1;
  constexpr uint64_t kMostMinor = (1 << 20) - 1;
  if (major_number > kMostMajor || minor_number > kMostMinor) {
    return invalid("{}: there is no device with the numbers {}:{}", where, major_number,
                   minor_number);
  }
  state.device_major = static_cast<uint32_t>(major_number);
  state.device_minor = static_cast<uint32_t>(minor_number);
  return {};
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_DEVICE_NUMBERS_H
