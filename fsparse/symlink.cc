// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/symlink.h"

#include "fsparse/block_map.h"

namespace unionfs {

Result<std::string> read_symlink(const Volume& volume, const InodeRecord& inode) {
  if (!inode.is_symlink()) {
    return corrupt("{}: inode {}: is not a symlink (i_mode {:#o})", volume.name(), inode.number(),
                   inode.raw().i_mode);
  }
  const bool is_fast = inode.is_fast_symlink();
  // Both forms leave room for a NUL.
  const uint32_t limit_bytes = is_fast ? ext2::kFastSymlinkBytes : volume.layout().block_size_bytes;
  const uint64_t size_bytes = inode.size_bytes();
  if (size_bytes == 0 || size_bytes >= limit_bytes) {
    return corrupt("{}: inode {}: symlink of {} bytes, not of 1 to {}", volume.name(),
                   inode.number(), size_bytes, limit_bytes - 1);
  }
  std::string target;
  if (is_fast) {
    target.assign(reinterpret_cast<const char*>(inode.raw().i_block.data()), size_bytes);
  } else {
    UNIONFS_ASSIGN(const std::optional<BlockNumber> block, map_block(volume, inode, FileBlock(0)));
    if (!block) {
      return corrupt("{}: inode {}: symlink has no block", volume.name(), inode.number());
    }
    std::vector<std::byte> bytes(volume.layout().block_size_bytes);
    UNIONFS_TRY(volume.read_block(*block, bytes));
    target.assign(reinterpret_cast<const char*>(bytes.data()), size_bytes);
  }
  if (target.find('\0') != std::string::npos) {
    return corrupt("{}: inode {}: symlink has a NUL in its target", volume.name(), inode.number());
  }
  return target;
}

}  // namespace unionfs
