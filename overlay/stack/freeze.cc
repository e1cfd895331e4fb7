// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/freeze.h"

#include <sys/random.h>

#include <cerrno>

#include "overlay/disk.h"

namespace unionfs {

Result<upper_format::Digest> draw_freeze_id() {
  upper_format::Digest id;
  if (::getrandom(id.data(), id.size(), 0) != static_cast<ssize_t>(id.size())) {
    return system_failure(errno, "the host gives no random bytes");
  }
  return id;
}

// Opened and closed for writing, an upper has a durable bitmap that says all there is.
Result<void> freeze_upper(const Below& below, const MergedView* frozen, WritableFile& upper,
                          const LogSink& log) {
  UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
  const auto load = [&] { return Disk::load(below, upper, boot_id, log, steady_clock(), frozen); };
  UNIONFS_ASSIGN(auto disk, load());
  if (disk->state_area().is_freezing()) {
    UNIONFS_TRY(disk->attach_to_freeze());
    return disk->finish_freezing();
  }
  UNIONFS_TRY(disk->check_can_write());
  if (disk->has_journal()) {
    UNIONFS_TRY(disk->finish_checkpoint());
    UNIONFS_ASSIGN(disk, load());
  }
  UNIONFS_TRY(disk->attach(Access::kReadWrite));
  UNIONFS_TRY(disk->close());
  StateArea area = disk->state_area();
  disk.reset();
  UNIONFS_ASSIGN(area.freeze_id, draw_freeze_id());
  area.features.incompat |= upper_format::kIncompatFrozen;
  // Both slots: whoever falls back to the older one must find it frozen, too.
  for (uint32_t slot = 0; slot < upper_format::kHeaderSlots; ++slot) {
    UNIONFS_TRY(write_state_header(upper, area));
    UNIONFS_TRY(upper.sync());
  }
  return {};
}

}  // namespace unionfs
