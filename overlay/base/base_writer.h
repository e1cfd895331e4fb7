// SPDX-License-Identifier: BSD-3-Clause
//
// Writes a planned image.
#ifndef UNIONFS_OVERLAY_BASE_BASE_WRITER_H
#define UNIONFS_OVERLAY_BASE_BASE_WRITER_H

#include "overlay/base/base_plan.h"

namespace unionfs {

// `out` is an empty file, and gets the size of the image.  Each byte that is not 0 is written
// once.  Errors as make_base().
Result<void> write_base(const BasePlan& plan, const BaseLayout& layout, const BaseOptions& options,
                        WritableFile& out);

// Superblock, descriptors and bitmaps, with their copies.
Result<void> write_groups(const BasePlan& plan, const BaseLayout& layout,
                          const BaseOptions& options, WritableFile& out);

// The superblock, as it lies in group 0.
ext2::Superblock make_superblock(const BasePlan& plan, const BaseLayout& layout,
                                 const BaseOptions& options);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_BASE_WRITER_H
