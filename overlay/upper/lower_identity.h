// SPDX-License-Identifier: BSD-3-Clause
//
// Which lower a layer belongs to.
#ifndef UNIONFS_OVERLAY_UPPER_LOWER_IDENTITY_H
#define UNIONFS_OVERLAY_UPPER_LOWER_IDENTITY_H

#include <string>

#include "fsparse/volume.h"
#include "overlay/upper/upper_format.h"

namespace unionfs {

// What a lower is recognized by.
Result<upper_format::LowerIdentity> identity_of(const Volume& lower);
bool is_same_lower(const upper_format::LowerIdentity& a, const upper_format::LowerIdentity& b);
// One line for messages: UUID, size, last write, hash.
std::string describe(const upper_format::LowerIdentity& identity);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LOWER_IDENTITY_H
