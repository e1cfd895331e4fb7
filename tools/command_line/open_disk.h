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
#include "overlay/merged/merged_image.h"
#include "overlay/stack/chain.h"
#include "overlay/stack/taken_sessions.h"
#include "tools/command_line/arguments.h"

namespace unionfs::img {

// An upper and what is below it, opened for looking: nothing is written, and nothing locked, so the
// upper may be served meanwhile.
class OpenDisk {
 public:
  // `levels`: what is below.  Refers to the upper.
  static Result<std::unique_ptr<OpenDisk>> open(const LevelPaths& levels, WritableFile& upper);

  const Volume& lower() const { return chain_->volume(); }
  const Chain& chain() const { return *chain_; }
  Disk& disk() { return *disk_; }
  // The same disk as an upper that has a layer: what stands on frozen sessions is shown as if it
  // had taken them over, and they are its session.  kUnsupported where it is a frozen level that is
  // no clean ext2, unless `only_layer` is looked at.
  Result<Disk*> layered(bool only_layer = false);
  // kUnsupported where it is a frozen level that is no clean ext2: nobody can unmount it any more.
  Result<void> check_clean_if_frozen() const;
  const Layout& merged() const { return disk_->geometry().merged(); }
  // Whether a server has the upper, or had it and was killed.
  bool is_in_use() const;

 private:
  OpenDisk() = default;

  WritableFile* upper_ = nullptr;
  std::unique_ptr<Chain> chain_;
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<TakenSessions> taken_;  // of layered_
  std::unique_ptr<Disk> layered_;         // once it was asked for, of a void disk
};

// The merged image as files, with what an open session has changed, as it is at that moment, or
// without it.  Refers to the disk.
Result<std::unique_ptr<MergedImage>> open_merged(OpenDisk& open, bool only_layer);

// What a look at the disk finds; see overlay/look/look.h.  `look` prints nothing, because it
// may be called more than once.
template <typename T>
Result<T> look_at_disk(const CommonArguments& arguments,
                       const std::function<Result<T>(OpenDisk&)>& look,
                       LookNeeds needs = LookNeeds::kSameLayer) {
  return look_for<T>(
      upper_at(arguments.upper),
      [&](WritableFile& upper) -> Result<T> {
        UNIONFS_ASSIGN(const auto open, OpenDisk::open(arguments.levels, upper));
        return look(*open);
      },
      needs);
}

// Space the file takes on its disk.
uint64_t disk_bytes(const ReadableFile& file);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_OPEN_DISK_H
