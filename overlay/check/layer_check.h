// SPDX-License-Identifier: BSD-3-Clause
//
// Whether an upper keeps the contract of a layer over its lower: one walk over
// what the layer owns, compared with what it says of itself.
#ifndef UNIONFS_OVERLAY_CHECK_LAYER_CHECK_H
#define UNIONFS_OVERLAY_CHECK_LAYER_CHECK_H

#include <vector>

#include "overlay/check/layer_facts.h"

namespace unionfs {

struct LayerFindings {
  std::vector<Violation> violations;
  LayerFacts facts;
};

// Finds all violations.  While the layer itself is not sound, it leaves out
// what can only be said of the merged image.  An error of the host, and damage
// of the lower, end the check.
Result<LayerFindings> check_layer(const CheckSources& sources);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_LAYER_CHECK_H
