// SPDX-License-Identifier: BSD-3-Clause
//
// Writes the upper of an untouched merged image: an ext2 image with the merged
// geometry that owns the root directory, every name in it a fallthru, and
// nothing else.
#ifndef UNIONFS_OVERLAY_UPPER_LAYER_CREATE_H
#define UNIONFS_OVERLAY_UPPER_LAYER_CREATE_H

#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/host/file.h"
#include "overlay/upper/parent.h"

namespace unionfs {

// `lower` is the image directly below, `level` what the level is that has it.  `upper` is a new,
// empty file.  Nothing is synced: the caller publishes it.
// Costs the descriptors with their copies, 32 bytes a group, and the blocks of the root
// directory; only groups in which something is used have bitmaps.
// Same lower and geometry, same bytes.
Result<void> create_layer(WritableFile& upper, const Volume& lower, const Geometry& geometry,
                          const LevelIdentity& level = {});

// What create_layer() asks of the host.
struct LayerNeeds {
  uint64_t length_bytes = 0;  // of the file
  uint64_t space_bytes = 0;   // on the disk; rather too much than too little
};
Result<LayerNeeds> layer_needs(const Volume& lower, const Geometry& geometry);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_LAYER_CREATE_H
