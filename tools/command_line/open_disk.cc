// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/open_disk.h"

#include <sys/stat.h>

#include "tools/command_line/text.h"

namespace unionfs::img {

Result<std::unique_ptr<OpenDisk>> OpenDisk::open(const LevelPaths& levels, WritableFile& upper) {
  std::unique_ptr<OpenDisk> open(new OpenDisk());
  UNIONFS_ASSIGN(open->chain_, Chain::open_below(levels, upper.name(), FileLock::kNone, note));
  UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(open->disk_, Disk::load(open->chain_->top(), upper, std::move(boot_id), note,
                                         steady_clock(), open->chain_->frozen_view()));
  UNIONFS_TRY(open->disk_->attach(Access::kReadOnly));
  return open;
}

bool OpenDisk::is_in_use() const {
  return (disk_->state_area().flags & upper_format::kFlagInUse) != 0;
}

Result<std::unique_ptr<MergedImage>> open_merged(OpenDisk& open, bool only_layer) {
  return MergedImage::open("merged image",
                           only_layer ? open.disk().layer().view() : open.disk().view());
}

uint64_t disk_bytes(const ReadableFile& file) {
  struct stat status = {};
  constexpr uint64_t kStatUnitBytes = 512;
  return ::fstat(file.descriptor(), &status) == 0
             ? static_cast<uint64_t>(status.st_blocks) * kStatUnitBytes
             : 0;
}

}  // namespace unionfs::img
