// SPDX-License-Identifier: BSD-3-Clause
//
// Which stretches of the merged image come from where.
#ifndef UNIONFS_OVERLAY_MERGED_OWNER_MAP_H
#define UNIONFS_OVERLAY_MERGED_OWNER_MAP_H

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "overlay/merged/merged_view.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

enum class Owner : uint8_t { kLower, kUpper, kState, kSynthesized, kZero };
constexpr size_t kOwnerCount = 5;

// Whether its blocks lie in a file, and not in no file at all.
bool has_place(Owner owner);

// A stretch of the merged image with one owner.
struct OwnedRange {
  Owner owner = Owner::kZero;
  BlockRange blocks;
  uint64_t file_offset = 0;  // of the first block
  uint32_t file = 0;         // where that is: an index of OwnerMap::files
};

struct OwnerMap {
  std::vector<std::string> files;  // those that have a range
  std::string lower_name;
  std::string upper_name;
  uint32_t block_size_bytes = 0;
  uint64_t block_count = 0;
  std::vector<OwnedRange> ranges;  // ascending, adjacent, they cover everything
  std::array<uint64_t, kOwnerCount> block_counts = {};
};

OwnerMap make_owner_map(const MergedView& view, const StateArea& area);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_OWNER_MAP_H
