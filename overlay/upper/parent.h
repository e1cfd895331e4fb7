// SPDX-License-Identifier: BSD-3-Clause
//
// What an upper stands on: a plain image, or a sealed layer with all that is below it.  An
// upper stores the digest of that, and the level that is given must have the same.
#ifndef UNIONFS_OVERLAY_UPPER_PARENT_H
#define UNIONFS_OVERLAY_UPPER_PARENT_H

#include <optional>
#include <string>

#include "fsparse/volume.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// A level, as the one above it knows it.
struct LevelIdentity {
  upper_format::ParentKind kind = upper_format::ParentKind::kLower;
  upper_format::Digest chain = {};  // of the level and all that is below it
  std::string path;                 // of its file
  // Where a frozen level lies over that: of all levels up to it, sessions and all, and of its
  // file.  An upper over it is void.
  std::optional<upper_format::Digest> frozen_chain = {};
  std::string frozen_path = {};
};

// Of a plain image at the bottom: what check_known_lower() compares, without times.
upper_format::Digest chain_digest_of_lower(const Volume& lower);
// Of a sealed layer over what has the digest `below`.
upper_format::Digest chain_digest_of_sealed(const upper_format::Digest& below,
                                            const upper_format::Seal& seal);

// Of the layer of a frozen level, without its session, over what has the digest `below`; `shape`
// is that of overlay/stack/seal.h.
upper_format::Digest chain_digest_of_layer(const upper_format::Digest& below,
                                           const upper_format::Digest& shape);
// Of a frozen level with its session.
upper_format::Digest chain_digest_of_frozen(const upper_format::Digest& below,
                                            const StateArea& frozen);

// Makes the area that of a new upper over `level`.
void set_parent(StateArea& area, const LevelIdentity& level);
// Makes the area of a void upper that of one over the layer that `level` has below its sessions.
void stand_on_layer(StateArea& area, const LevelIdentity& level);
// The parent's file name as it was recorded; empty where there is no parent, and where the
// name was too long.
std::string parent_name(const StateArea& area);

// For people: "the sealed layer "l1.img" with the chain digest ...".  Only with a parent.
std::string describe_parent(const StateArea& area);

// Whether `area` is that of an upper over `level`; kInvalid if not, saying what was given and
// what is expected.
Result<void> check_parent(const StateArea& area, const LevelIdentity& level,
                          const std::string& upper_name);

// For people: the first half.
std::string digest_text(const upper_format::Digest& digest);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_PARENT_H
