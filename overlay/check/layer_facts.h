// SPDX-License-Identifier: BSD-3-Clause
//
// What the first stages of a check found of a layer, together.
#ifndef UNIONFS_OVERLAY_CHECK_LAYER_FACTS_H
#define UNIONFS_OVERLAY_CHECK_LAYER_FACTS_H

#include "overlay/check/name_check.h"

namespace unionfs {

// Refers to the merged image's layout.
struct LayerFacts {
  LayerNumbers numbers;
  OwnFiles files;
  LinksByInode links;
  std::set<BlockNumber> missing_whiteouts;  // of all kinds
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_LAYER_FACTS_H
