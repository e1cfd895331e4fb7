// SPDX-License-Identifier: BSD-3-Clause
//
// Where a remote image reads as zeros, as its server says.
#ifndef UNIONFS_OVERLAY_REMOTE_HOLE_MAP_H
#define UNIONFS_OVERLAY_REMOTE_HOLE_MAP_H

#include <vector>

#include "overlay/host/file.h"

namespace unionfs {

// Built by one thread, and not changed once others read it.
class HoleMap {
 public:
  // Holes beyond these are forgotten, so that memory has a bound.
  static constexpr size_t kMostHoles = size_t{1} << 20;

  // [begin, end) reads as zeros; not before the end of the one added last.
  void add(uint64_t begin, uint64_t end);
  // The extent that holds `offset` of an image of that size.
  FileExtent extent_at(uint64_t offset, uint64_t size_bytes) const;

 private:
  struct Hole {
    uint64_t begin = 0;
    uint64_t end = 0;
  };

  std::vector<Hole> holes_;  // ascending, not adjacent
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REMOTE_HOLE_MAP_H
