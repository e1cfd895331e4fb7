// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/open_disk.h"

#include <sys/stat.h>

#include "tools/command_line/text.h"

namespace unionfs::img {

Result<std::unique_ptr<OpenDisk>> OpenDisk::open(const LevelPaths& levels, WritableFile& upper) {
  std::unique_ptr<OpenDisk> open(new OpenDisk());
  open->upper_ = &upper;
  UNIONFS_ASSIGN(open->chain_, Chain::open_below(levels, upper.name(), FileLock::kNone, note));
  UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(open->disk_, Disk::load(open->chain_->top(), upper, std::move(boot_id), note,
                                         steady_clock(), open->chain_->frozen_view()));
  UNIONFS_TRY(open->disk_->attach(Access::kReadOnly));
  return open;
}

Result<Disk*> OpenDisk::layered(bool only_layer) {
  if (!only_layer) {
    UNIONFS_TRY(check_clean_if_frozen());
  }
  if (!disk_->is_void()) {
    return disk_.get();
  }
  if (layered_ == nullptr) {
    UNIONFS_ASSIGN(taken_, TakenSessions::make(*disk_, *upper_));
    UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
    UNIONFS_ASSIGN(layered_, Disk::load(chain_->top(), *taken_, std::move(boot_id), note));
    UNIONFS_TRY(layered_->attach(Access::kReadOnly));
  }
  return layered_.get();
}

Result<void> OpenDisk::check_clean_if_frozen() const {
  if (!disk_->state_area().is_frozen()) {
    return {};
  }
  ext2::Superblock superblock;
  UNIONFS_TRY(disk_->view().read(ext2::kSuperblockOffsetBytes,
                                 std::as_writable_bytes(std::span(&superblock, 1))));
  if ((superblock.s_state & (ext2::kStateValid | ext2::kStateError)) != ext2::kStateValid) {
    return unsupported(
        "{}: was mounted when it was frozen, and shows no clean file system; to make a layer of "
        "it: unionfs-img seal -o FILE with --frozen or --fsck",
        upper_->name());
  }
  return {};
}

bool OpenDisk::is_in_use() const {
  return (disk_->state_area().flags & upper_format::kFlagInUse) != 0;
}

Result<std::unique_ptr<MergedImage>> open_merged(OpenDisk& open, bool only_layer) {
  if (!only_layer) {
    UNIONFS_TRY(open.check_clean_if_frozen());
  }
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
