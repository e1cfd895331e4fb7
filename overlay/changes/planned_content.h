// SPDX-License-Identifier: BSD-3-Clause
//
// What a planned content says, wherever the plan takes it from.
#ifndef UNIONFS_OVERLAY_CHANGES_PLANNED_CONTENT_H
#define UNIONFS_OVERLAY_CHANGES_PLANNED_CONTENT_H

#include <memory>
#include <string>

#include "overlay/changes/plan.h"

namespace unionfs {

// A value, but for the reader of the bytes.  Only what its type has means something.
struct FileContent {
  uint16_t type = 0;                 // ext2::kMode...: of the file that it belongs to
  std::shared_ptr<FileBytes> bytes;  // of regular files; never null there
  std::string target;                // of symlinks
  DeviceNumbers device;              // of devices
};

// Of this inode.  Refers to the image.
Result<FileContent> content_of_inode(const Volume& image, const InodeRecord& record);

// `file.content` must be there.
Result<FileContent> content_of(const PlannedFile& file);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_PLANNED_CONTENT_H
