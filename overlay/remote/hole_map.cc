// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/remote/hole_map.h"

#include <algorithm>

namespace unionfs {

void HoleMap::add(uint64_t begin, uint64_t end) {
  if (!holes_.empty() && holes_.back().end == begin) {
    holes_.back().end = end;
  } else if (holes_.size() < kMostHoles && begin < end) {
    holes_.push_back({begin, end});
  }
}

FileExtent HoleMap::extent_at(uint64_t offset, uint64_t size_bytes) const {
  const auto next = std::upper_bound(holes_.begin(), holes_.end(), offset,
                                     [](uint64_t at, const Hole& hole) { return at < hole.end; });
  if (next == holes_.end()) {
    return {false, size_bytes};
  }
  return offset < next->begin ? FileExtent{false, next->begin} : FileExtent{true, next->end};
}

}  // namespace unionfs
