// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/file_copy.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <vector>

#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

bool share_space(const ReadableFile& from, const WritableFile& to) {
  return from.descriptor() >= 0 && to.descriptor() >= 0 &&
         ::ioctl(to.descriptor(), FICLONE, from.descriptor()) == 0;
}

}  // namespace

Result<void> copy_file(const ReadableFile& from, WritableFile& to,
                       const std::atomic<bool>& is_cancelled,
                       const std::function<void(uint64_t)>& progress) {
  constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
  UNIONFS_TRY(to.resize(from.size_bytes()));
  if (share_space(from, to)) {
    return {};
  }
  std::vector<std::byte> bytes(std::min(kPieceBytes, from.size_bytes()));
  for (uint64_t at = 0; at < from.size_bytes();) {
    const FileExtent extent = from.extent_at(at);
    const uint64_t end = std::min(extent.end, from.size_bytes());
    while (!extent.is_hole && at < end) {
      UNIONFS_TRY(check_not_cancelled(is_cancelled));
      const ByteSpan piece = ByteSpan(bytes).first(std::min(kPieceBytes, end - at));
      UNIONFS_TRY(from.read(at, piece));
      UNIONFS_TRY(to.write(at, piece));
      at += piece.size();
      if (progress) {
        progress(at);
      }
    }
    at = end;
  }
  return {};
}

}  // namespace unionfs
