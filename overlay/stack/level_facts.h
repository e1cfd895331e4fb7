// SPDX-License-Identifier: BSD-3-Clause
//
// What the levels of a chain are, for who asks a server.
#ifndef UNIONFS_OVERLAY_STACK_LEVEL_FACTS_H
#define UNIONFS_OVERLAY_STACK_LEVEL_FACTS_H

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "overlay/upper/upper_format.h"

namespace unionfs {

class Chain;

enum class LevelKind {
  kLower,   // the plain image at the bottom
  kSealed,  // a layer
  kFrozen,  // a layer with a session
  kVoid,    // a session alone
  kUpper,   // what clients write to
};

// Nothing where it is not known, or where the level has no such thing.
struct LevelFacts {
  LevelKind kind = LevelKind::kLower;
  std::string name;                        // path, or address without what is secret in it
  uint64_t merged_size_bytes = 0;          // of the image that the level and those below it show
  std::optional<uint64_t> disk_bytes;      // on this host
  std::optional<uint64_t> own_blocks;      // of its layer
  std::optional<uint64_t> written_blocks;  // of its session
  // Of the level and all that is below it, as what stands on it records it: with its session if
  // that is void, and else of its layer.
  std::optional<upper_format::Digest> chain;
  std::optional<upper_format::Digest> freeze_id;  // of a frozen one
};

// Of all levels below an upper, the lowest first.  Cost follows what the levels own.  Not while
// levels are added or removed.
std::vector<LevelFacts> facts_of_levels(const Chain& chain, bool is_upper_void);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_LEVEL_FACTS_H
