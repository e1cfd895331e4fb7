// SPDX-License-Identifier: BSD-3-Clause
//
// A directory block of the layer as the merged image shows it.
#ifndef UNIONFS_OVERLAY_MERGED_DIRECTORY_SYNTHESIS_H
#define UNIONFS_OVERLAY_MERGED_DIRECTORY_SYNTHESIS_H

#include "fsparse/volume.h"
#include "overlay/merged/below.h"
#include "overlay/upper/layer.h"

namespace unionfs {

// `block` holds the layer's bytes and gets the merged ones: a fallthru takes
// inode and type of the same name in the directory of the same inode number
// below, a whiteout becomes free space without a name.  Index blocks of an htree directory
// hold no names and pass unchanged.  Thread-safe.
Result<void> synthesize_directory_block(const Below& below, const Volume& upper,
                                        const MergedFeatures& features,
                                        const TranslatedBlock& entry, ByteSpan block);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_DIRECTORY_SYNTHESIS_H
