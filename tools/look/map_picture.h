// SPDX-License-Identifier: BSD-3-Clause
//
// Where the merged image's blocks come from, as pictures.
#ifndef UNIONFS_TOOLS_LOOK_MAP_PICTURE_H
#define UNIONFS_TOOLS_LOOK_MAP_PICTURE_H

#include <string>

#include "overlay/merged/owner_map.h"

namespace unionfs::img {

const char* owner_name(Owner owner);
// A coarse picture of characters; with colours for a terminal.
std::string terminal_picture(const OwnerMap& map);
// The same, finer, as an SVG document.
std::string svg_picture(const OwnerMap& map);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_LOOK_MAP_PICTURE_H
