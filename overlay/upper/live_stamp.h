// SPDX-License-Identifier: BSD-3-Clause
//
// Says whether the live bitmap can be believed.  After a process died the host
// still has what it wrote, so the same boot and the same session may go on with
// it; after a power loss it may be newer than the data it speaks of.  So it may be in
// a copy of the file: whoever copies reads the data first and the bitmap last.
#ifndef UNIONFS_OVERLAY_UPPER_LIVE_STAMP_H
#define UNIONFS_OVERLAY_UPPER_LIVE_STAMP_H

#include <memory>
#include <string>

#include "overlay/host/file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// The id the kernel drew when the machine booted.
Result<std::string> read_boot_id();

// Whether the upper carries the stamp of this boot, this session and this file.
Result<bool> is_live_current(const ReadableFile& upper, const StateArea& area,
                             const std::string& boot_id);

// The stamp in a writable upper.  Thread-safe.
class LiveStamp {
 public:
  // Takes the space of its page.
  static Result<std::unique_ptr<LiveStamp>> open(WritableFile& upper, const StateArea& area);

  Result<void> write(uint64_t session_number, const std::string& boot_id);
  // Nobody believes the live bitmap from now on.  An error says that somebody may.
  Result<void> clear();

 private:
  LiveStamp(WritableFile& upper, uint64_t offset) : upper_(upper), offset_(offset) {}

  WritableFile& upper_;
  const uint64_t offset_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LIVE_STAMP_H
