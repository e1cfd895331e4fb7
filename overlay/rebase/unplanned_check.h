// SPDX-License-Identifier: BSD-3-Clause
#ifndef UNIONFS_OVERLAY_REBASE_UNPLANNED_CHECK_H
#define UNIONFS_OVERLAY_REBASE_UNPLANNED_CHECK_H

#include <atomic>

#include "overlay/changes/plan.h"

namespace unionfs {

// Walks all of `lower` by its names: each that the plan does not name leads to the same inode
// in `merged`, with the same record, attributes and bytes, and no directory has a name more.
// `merged` is what the new layer over `lower` shows.  Returns how many bytes were compared.
// The cost is that of reading all of the lower.  An error says what differs, by its path.
Result<uint64_t> check_unplanned(const Plan& plan, const Volume& lower, const Volume& merged,
                                 const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_UNPLANNED_CHECK_H
