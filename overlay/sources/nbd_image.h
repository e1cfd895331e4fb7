// SPDX-License-Identifier: BSD-3-Clause
//
// A disk that an NBD server has, as an image.
#ifndef UNIONFS_OVERLAY_SOURCES_NBD_IMAGE_H
#define UNIONFS_OVERLAY_SOURCES_NBD_IMAGE_H

#include <memory>
#include <string>

#include "fsparse/image.h"
#include "overlay/remote/nbd_uri.h"

namespace unionfs {

// Connects for reading.  Source: NBD's uri.md.  Errors name the address and what libnbd says.
Result<std::shared_ptr<const Image>> open_nbd_image(const std::string& uri);

// A qcow2 image, through a qemu-nbd that runs as long as the image is there.  It opens the
// backing files that the image names, so the image must come from somebody who may name files.
// kUnsupported where there is no qemu-nbd.
Result<std::shared_ptr<const Image>> open_qcow2_image(const std::string& path);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_NBD_IMAGE_H
