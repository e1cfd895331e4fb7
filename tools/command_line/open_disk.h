// SPDX-License-Identifier: BSD-3-Clause
//
// The images of the commands that look and change nothing.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H
#define UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H

#include <functional>
#include <memory>
#include <optional>

#include "overlay/disk.h"
#include "overlay/host/posix_file.h"
#include "overlay/look/look.h"
#include "overlay/merged/lower_image.h"
#include "tools/command_line/arguments.h"

namespace unionfs::img {

// A lower and an upper opened for looking: nothing is written, and nothing locked, so the
// upper may be served meanwhile.
class OpenDisk {
 public:
  // Refers to the upper.
  static Result<std::unique_ptr<OpenDisk>> open(const std::string& lower, WritableFile& upper);

  const Volume& lower() const { return lower_->volume(); }
  Disk& disk() { return *disk_; }
  const Layout& merged() const { return disk_->geometry().merged(); }
  // Whether a server has the upper, or had it and was killed.
  bool is_in_use() const;

 private:
  OpenDisk() = default;

  std::unique_ptr<PosixFile> lower_file_;
  std::unique_ptr<LowerImage> lower_;
  std::unique_ptr<Disk> disk_;
};

// What a look at the disk finds; see overlay/look/look.h.  `look` prints nothing, because it
// may be called more than once.
template <typename T>
Result<T> look_at_disk(const CommonArguments& arguments,
                       const std::function<Result<T>(OpenDisk&)>& look,
                       LookNeeds needs = LookNeeds::kSameLayer) {
  return look_for<T>(
      upper_at(arguments.upper),
      [&](WritableFile& upper) -> Result<T> {
        UNIONFS_ASSIGN(const auto open, OpenDisk::open(arguments.lower, upper));
        return look(*open);
      },
      needs);
}

// Space the file takes on its disk.
uint64_t disk_bytes(const ReadableFile& file);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H
