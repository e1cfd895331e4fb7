// SPDX-License-Identifier: BSD-3-Clause
//
// What a person sees of the way of a request.
#ifndef UNIONFS_PLUGIN_ROUTE_H
#define UNIONFS_PLUGIN_ROUTE_H

#include <cstdint>
#include <string>

#include "overlay/merged/merged_view.h"

namespace unionfs {

// Where the blocks of this range come from, in one line: "8 blocks from 17 of the lower at
// 17408, ...".  At most so many runs, then dots.  The range is inside the image.
std::string describe_route(const MergedView& view, uint64_t offset, uint64_t length,
                           int most_runs = 16);

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_ROUTE_H
