// SPDX-License-Identifier: BSD-3-Clause
//
// Says whether the live bitmap can be believed.  After a process died its
// shared memory is whole, so the same boot and the same session may go on with
// it; after a power loss it may be newer than the data it speaks of.
#ifndef UNIONFS_OVERLAY_UPPER_LIVE_STAMP_H
#define UNIONFS_OVERLAY_UPPER_LIVE_STAMP_H

#include <memory>
#include <string>

#include "overlay/host/file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// The id the kernel drew when the machine booted.
Result<std::string> read_boot_id();

// Whether the upper carries the stamp of this boot and session.
Result<bool> is_live_current(const ReadableFile& upper, const StateArea& area,
                             const std::string& boot_id);

// The stamp in a writable upper, as shared memory.  Thread-safe.
class LiveStamp {
 public:
  static Result<std::unique_ptr<LiveStamp>> map(WritableFile& upper, const StateArea& area);

  void write(uint64_t session_number, const std::string& boot_id);
  // Nobody believes the live bitmap from now on.
  void clear();

 private:
  explicit LiveStamp(std::unique_ptr<MappedRegion> region) : region_(std::move(region)) {}

  std::unique_ptr<MappedRegion> region_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LIVE_STAMP_H
