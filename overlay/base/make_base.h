// SPDX-License-Identifier: BSD-3-Clause
//
// A plain ext2 image, to be a lower, made of a tree of files.  docs/mkbase.md says which image
// becomes of which tree, and why.
#ifndef UNIONFS_OVERLAY_BASE_MAKE_BASE_H
#define UNIONFS_OVERLAY_BASE_MAKE_BASE_H

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "overlay/host/file.h"
#include "overlay/tree/file_tree.h"

namespace unionfs {

constexpr uint64_t kLeastInodeRatioBytes = 1024;
constexpr uint64_t kMostInodeRatioBytes = uint64_t{64} << 20;

struct BaseOptions {
  // Rounded down to whole blocks, and to the last group that has room for its metadata.  None: as
  // little as the files need, rounded up.
  std::optional<uint64_t> size_bytes;
  uint32_t block_size_bytes = 4096;    // 1024, 2048 or 4096
  uint32_t inode_size_bytes = 256;     // a power of two from 128 to the block size
  uint64_t inode_ratio_bytes = 16384;  // of a group, for each inode; more inodes if files need them
  std::string label;                   // at most 16 bytes
  std::optional<std::array<uint8_t, 16>> uuid;  // none: of the content
  // Seconds since 1970, of what has no time of its own.  None: the latest mtime in the tree.
  std::optional<int64_t> epoch;
  // Is called now and then, if it is set: content that was read so far, and all that will be.
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

struct BaseFacts {
  uint64_t size_bytes = 0;
  uint64_t block_count = 0;
  uint64_t free_block_count = 0;
  uint64_t inode_count = 0;
  uint64_t free_inode_count = 0;
  std::array<uint8_t, 16> uuid = {};
  // A file whose times were cut to whole seconds, if there is one.
  std::optional<std::string> rounded_path;
};

// Makes the image in `out`, an empty file, which is named in errors of writing only.  Nothing is
// written before it is known that all of the tree fits.  Sync and name are the caller's.
//
// kInvalid, with the path, for what ext2 or an image of these options cannot hold, for marks in
// the tree, and for a file whose content changed between the two times that it is read.
// Memory follows names and inodes.
Result<BaseFacts> make_base(FileTree tree, WritableFile& out, const BaseOptions& options);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_MAKE_BASE_H
