// SPDX-License-Identifier: BSD-3-Clause
//
// Freezing: an upper that never changes again as it is, layer and session, so that others can
// stand on its bytes.  Unlike a sealed layer its image need not be a clean ext2 at that moment.
#ifndef UNIONFS_OVERLAY_STACK_FREEZE_H
#define UNIONFS_OVERLAY_STACK_FREEZE_H

#include "overlay/host/log.h"
#include "overlay/merged/merged_view.h"
#include "overlay/upper/upper_format.h"

namespace unionfs {

// An id for a freeze.
Result<upper_format::Digest> draw_freeze_id();

// `upper` belongs to nobody else, and can be written; `below` and `frozen` are those of
// Disk::load().  Afterwards it is frozen, and durable as such.  After an error it is an upper as
// before, or, if only one header could be written, frozen.  kInvalid where it is sealed or
// frozen already.  One that a server was freezing gets the id that was drawn for it.
Result<void> freeze_upper(const Below& below, const MergedView* frozen, WritableFile& upper,
                          const LogSink& log);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_FREEZE_H
