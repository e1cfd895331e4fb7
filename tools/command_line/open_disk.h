// SPDX-License-Identifier: BSD-3-Clause
//
// The images of the commands that look and change nothing.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H
#define UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H

#include <memory>
#include <optional>

#include "overlay/disk.h"
#include "overlay/host/posix_file.h"
#include "overlay/merged/lower_image.h"
#include "tools/command_line/arguments.h"

namespace unionfs::img {

// A lower and an upper opened for looking: nothing is written, others may look
// at the same time, servers and those who write are kept out.
class OpenDisk {
 public:
  static Result<std::unique_ptr<OpenDisk>> open(const CommonArguments& arguments);

  const Volume& lower() const { return lower_->volume(); }
  const PosixFile& upper_file() const { return *upper_file_; }
  Disk& disk() { return *disk_; }
  const Layout& merged() const { return disk_->geometry().merged(); }

 private:
  OpenDisk() = default;

  std::unique_ptr<PosixFile> lower_file_;
  std::unique_ptr<PosixFile> upper_file_;
  std::unique_ptr<LowerImage> lower_;
  std::unique_ptr<Disk> disk_;
};

// Space the file takes on its disk.
uint64_t disk_bytes(const PosixFile& file);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H
