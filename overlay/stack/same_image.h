// SPDX-License-Identifier: BSD-3-Clause
//
// What prove_same() does not look at, because a checkpoint changes it: of two chains both are the
// same.
#ifndef UNIONFS_OVERLAY_STACK_SAME_IMAGE_H
#define UNIONFS_OVERLAY_STACK_SAME_IMAGE_H

#include <string>

#include "fsparse/volume.h"

namespace unionfs {

// kCorrupt where `found` has another boot area than `wanted`; `name` is of the file that is to
// show it.
Result<void> prove_same_boot_area(const Volume& wanted, const Volume& found,
                                  const std::string& name);
// The same of the counters of groups.
Result<void> prove_same_counters(const Volume& wanted, const Volume& found,
                                 const std::string& name);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_SAME_IMAGE_H
