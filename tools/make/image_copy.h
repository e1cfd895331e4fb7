// SPDX-License-Identifier: BSD-3-Clause
//
// Images as temporary files with holes, for programs that read and write files alone.
#ifndef UNIONFS_TOOLS_MAKE_IMAGE_COPY_H
#define UNIONFS_TOOLS_MAKE_IMAGE_COPY_H

#include <memory>

#include "overlay/host/posix_file.h"
#include "overlay/stack/mended_image.h"

namespace unionfs::img {

// All of it; blocks of zeros are holes.
Result<std::unique_ptr<PosixFile>> copy_image(const ReadableFile& image, const Layout& layout);
// Only what a check of the file system reads.  The contents of files are holes.
Result<std::unique_ptr<PosixFile>> copy_metadata(const MendedImage& image);
// Adds the blocks in which the two have other bytes; both are as large as the layout says.
Result<void> find_differences(const ReadableFile& one, const ReadableFile& other,
                              const Layout& layout, BlockSet& blocks);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_MAKE_IMAGE_COPY_H
