// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image as libext2fs sees it: an io_manager over a disk, and the
// file system opened through it.  What libext2fs changes becomes part of the
// disk's session, as if a client had written it.
#ifndef UNIONFS_OVERLAY_CHANGES_EXT2_IO_MANAGER_H
#define UNIONFS_OVERLAY_CHANGES_EXT2_IO_MANAGER_H

#include <memory>
#include <string>

#include "overlay/disk.h"

// libext2fs's header gives names of fields to the preprocessor, so it is
// included only where its functions are called, behind all others.
struct struct_ext2_filsys;

namespace unionfs {

using Ext2FileSystem = struct_ext2_filsys;  // ext2_filsys points to one
using Ext2Code = long;                      // errcode_t

// One user, one thread.
class MergedExt2 {
 public:
  // Opens the merged image for writing, its bitmaps read.  The disk must be
  // open for writing and outlive this.  `now` is what libext2fs takes for the time of day,
  // so that the same input gives the same bytes.
  static Result<std::unique_ptr<MergedExt2>> open(Disk& disk, uint32_t now);
  ~MergedExt2();
  MergedExt2(const MergedExt2&) = delete;
  MergedExt2& operator=(const MergedExt2&) = delete;

  Ext2FileSystem* get() const { return file_system_; }
  // Writes bitmaps, descriptors and superblock; afterwards nothing else works.
  Result<void> close();

  // What a libext2fs call answered; success for 0.  `what` says what was
  // tried, on which object.
  Result<void> check(Ext2Code code, const std::string& what) const;

  struct Channel;

 private:
  MergedExt2();

  std::unique_ptr<Channel> channel_;
  Ext2FileSystem* file_system_ = nullptr;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_EXT2_IO_MANAGER_H
