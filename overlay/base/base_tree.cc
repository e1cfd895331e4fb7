// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/base_tree.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <utility>

#include "fsparse/block_map.h"

namespace unionfs {
namespace {

constexpr std::string_view kLostAndFound = "lost+found";
constexpr uint16_t kLostAndFoundPermissions = 0700;
// What the new encoding of devices has room for.
constexpr uint32_t kMostMajor = 0xfff;
constexpr uint32_t kMostMinor = 0xfffff;
constexpr uint32_t kNanosecondsPerSecond = 1000000000;

Result<void> check_name(const FileTree& tree, const TreeVisit& visit) {
  const std::string& path = visit.path;
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  const bool has_slash = tree.find(visit.directory, name) != &visit.name;
  if (name.empty() || name == "." || name == ".." || name.find('\0') != name.npos || has_slash) {
    return invalid("{}: is no name that a directory can have", quoted_name(path));
  }
  if (name.size() > ext2::kMaxNameBytes) {
    return invalid("{}: the name has {} bytes, and ext2 has room for {}", quoted_name(path),
                   name.size(), ext2::kMaxNameBytes);
  }
  return {};
}

// What the kernel reads of a file with a block map: without the feature huge_file i_blocks
// counts sectors in 32 bits, among them all indirect blocks that a file can have.
uint64_t most_file_bytes(uint32_t block_size_bytes) {
  const uint64_t pointers = block_size_bytes / sizeof(uint32_t);
  const uint64_t sectors_per_block = block_size_bytes / ext2::kSectorSizeBytes;
  const uint64_t most_indirect = 1 + (1 + pointers) + (1 + pointers + pointers * pointers);
  const uint64_t counted = UINT32_MAX / sectors_per_block - most_indirect;
  return std::min(counted, max_file_blocks(static_cast<uint32_t>(pointers))) * block_size_bytes;
}

Result<void> check_times(const FileState& state, const std::string& path, uint32_t inode_size) {
  const FileTime created =
      state.created && inode_size > ext2::kGoodOldInodeSizeBytes ? *state.created : FileTime();
  for (const FileTime& time : {state.accessed, state.changed, state.modified, created}) {
    if (!can_keep_seconds(time, inode_size) || time.nanoseconds >= kNanosecondsPerSecond) {
      return invalid(
          "{}: one of its times is {} seconds and {} nanoseconds after 1970, and an inode of {} "
          "bytes has no room for that",
          quoted_name(path), time.seconds, time.nanoseconds, inode_size);
    }
  }
  return {};
}

Result<void> check_symlink(const std::string& target, const std::string& path,
                           uint32_t block_size_bytes) {
  if (target.empty() || target.find('\0') != target.npos) {
    return invalid("{}: a symbolic link that leads to no name", quoted_name(path));
  }
  if (target.size() >= block_size_bytes) {
    return invalid("{}: a symbolic link of {} bytes, and a block of {} has room for {}",
                   quoted_name(path), target.size(), block_size_bytes, block_size_bytes - 1);
  }
  return {};
}

FileTime latest_time(const FileTree& tree, const TreeVisit& visit, FileTime latest) {
  const TreeFile& file = tree.file(visit.name.file);
  return file.is_implied ? latest : std::max(latest, file.state.modified);
}

// A time that every field of every inode size holds.
FileTime clamped(int64_t seconds, uint32_t inode_size_bytes) {
  const int64_t most = inode_size_bytes == ext2::kGoodOldInodeSizeBytes
                           ? std::numeric_limits<int32_t>::max()
                           : std::numeric_limits<uint32_t>::max();
  return {std::clamp<int64_t>(seconds, 0, most), 0};
}

void add_lost_and_found(BaseTree& ready) {
  const TreeName* present = ready.tree.find(kTreeRoot, kLostAndFound);
  if (present == nullptr) {
    TreeFile directory;
    directory.state.mode = ext2::kModeDirectory | kLostAndFoundPermissions;
    directory.is_implied = true;
    ready.lost_and_found = ready.tree.add(std::move(directory));
    ready.tree.set_name(kTreeRoot, kLostAndFound, *ready.lost_and_found);
  } else if (present->mark == TreeMark::kFile &&
             ready.tree.file(present->file).state.is_directory()) {
    ready.lost_and_found = present->file;
  }
}

}  // namespace

Result<void> check_file(const TreeFile& file, const std::string& path, const BaseOptions& options) {
  const FileState& state = file.state;
  UNIONFS_TRY(check_times(state, path, options.inode_size_bytes));
  switch (state.type()) {
    case ext2::kModeRegular: {
      const uint64_t most = most_file_bytes(options.block_size_bytes);
      if (file.content && file.content->size_bytes() > most) {
        return invalid("{}: has {} bytes, and a file with blocks of {} bytes has {} at most",
                       quoted_name(path), file.content->size_bytes(), options.block_size_bytes,
                       most);
      }
      return {};
    }
    case ext2::kModeSymlink:
      return check_symlink(state.target, path, options.block_size_bytes);
    case ext2::kModeCharDevice:
    case ext2::kModeBlockDevice:
      if (state.device_major > kMostMajor || state.device_minor > kMostMinor) {
        return invalid("{}: a device {}:{}, and ext2 has room for {}:{} at most", quoted_name(path),
                       state.device_major, state.device_minor, kMostMajor, kMostMinor);
      }
      return {};
    case ext2::kModeDirectory:
    case ext2::kModeFifo:
    case ext2::kModeSocket:
      return {};
    default:
      return invalid("{}: is of a kind that ext2 has not (mode {:#o})", quoted_name(path),
                     state.mode);
  }
}

Result<BaseTree> make_ready(FileTree tree, const BaseOptions& options) {
  BaseTree ready;
  ready.tree = std::move(tree);
  FileTime latest;
  std::vector<TreeFileId> implied;
  add_lost_and_found(ready);
  UNIONFS_TRY(walk_tree(ready.tree, [&](const TreeVisit& visit) -> Result<void> {
    if (visit.name.mark != TreeMark::kFile) {
      return invalid("{}: a {} of a layer, and a base has nothing below it",
                     quoted_name(visit.path),
                     visit.name.mark == TreeMark::kWhiteout ? "whiteout" : "fallthru");
    }
    if (visit.name.file != kTreeRoot) {
      UNIONFS_TRY(check_name(ready.tree, visit));
    }
    const TreeFile& file = ready.tree.file(visit.name.file);
    if (visit.is_first_name) {
      UNIONFS_TRY(check_file(file, visit.path, options));
      ready.content_bytes += file.content ? file.content->size_bytes() : 0;
      latest = latest_time(ready.tree, visit, latest);
    }
    if (file.is_implied) {
      implied.push_back(visit.name.file);
    }
    return {};
  }));
  ready.epoch = clamped(options.epoch.value_or(latest.seconds), options.inode_size_bytes);
  for (const TreeFileId id : implied) {
    FileState& state = ready.tree.file(id).state;
    state.accessed = state.changed = state.modified = ready.epoch;
  }
  return ready;
}

}  // namespace unionfs
