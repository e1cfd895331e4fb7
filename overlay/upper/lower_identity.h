// SPDX-License-Identifier: BSD-3-Clause
//
// Which lower a layer belongs to, as far as superblock and descriptors tell it.
// What they cannot tell is in the records: overlay/upper/lower_records.h.
#ifndef UNIONFS_OVERLAY_UPPER_LOWER_IDENTITY_H
#define UNIONFS_OVERLAY_UPPER_LOWER_IDENTITY_H

#include <string>

#include "fsparse/volume.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// What a new layer keeps of the lower.  Mounting, checking and labelling change
// nothing of it that counts.
KnownLower known_lower(const Volume& lower);

// What an upper without records keeps of it: times count, too.
Result<upper_format::LowerIdentity> identity_without_records(const Volume& lower);

// Whether `lower` is the one that `area` knows, by the rules of the area's features.
// If not, an error of kind kInvalid that says what differs; the names are `lower`'s
// and the upper's.  Reads descriptors only where the area has no records.
Result<void> check_known_lower(const StateArea& area, const Volume& lower,
                               const std::string& upper_name);

// Whether `lower` is still as it was when `before` was taken of it; kInvalid if not, saying what
// differs.  What mounting changes does not count.
Result<void> check_still_same(const KnownLower& before, const Volume& lower);

// One line for people: UUID, size, last write, hash.
std::string describe(const upper_format::LowerIdentity& identity);

// A time of ext2's, for people.
std::string utc_text(uint32_t seconds);

// How such a message begins, and how it ends.
std::string not_the_lower(const std::string& lower_name, const std::string& upper_name,
                          const std::string& difference);
// The last part of such a message: what can be done where the other lower is meant.
std::string how_to_rebase(const std::string& lower_name, const std::string& upper_name);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LOWER_IDENTITY_H
