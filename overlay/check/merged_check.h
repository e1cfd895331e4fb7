// SPDX-License-Identifier: BSD-3-Clause
//
// The last stage of a check: whether the layer keeps the counts of the merged
// image that it and the lower make.  Only of a layer that is sound in itself.
#ifndef UNIONFS_OVERLAY_CHECK_MERGED_CHECK_H
#define UNIONFS_OVERLAY_CHECK_MERGED_CHECK_H

#include <vector>

#include "overlay/check/layer_facts.h"

namespace unionfs {

// The counts as they should be, each list ascending.
struct MergedCounts {
  std::vector<KeptInode> inodes;        // of every own inode but the reserved ones
  std::vector<KeptXattr> xattrs;        // of every xattr block of the layer, and listed one
  std::vector<GroupCounters> counters;  // of every group that the layer touches
};

// Goes through all inodes of the lower when the layer has an xattr block.
Result<MergedCounts> count_merged(const CheckSources& sources, const LayerFacts& facts,
                                  LowerSide& lower, const Volume& merged);

Result<void> check_merged(const CheckSources& sources, const LayerFacts& facts, LowerSide& lower,
                          Violations& violations);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_MERGED_CHECK_H
