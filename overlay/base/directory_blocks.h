// SPDX-License-Identifier: BSD-3-Clause
//
// The blocks of a new directory.
#ifndef UNIONFS_OVERLAY_BASE_DIRECTORY_BLOCKS_H
#define UNIONFS_OVERLAY_BASE_DIRECTORY_BLOCKS_H

#include <string_view>
#include <vector>

#include "fsparse/ext2_format.h"
#include "fsparse/numbers.h"
#include "fsparse/result.h"
#include "overlay/changes/directory_index.h"

namespace unionfs {

struct NewDirectory {
  InodeNumber inode;
  InodeNumber parent;
  std::vector<IndexedName> names;  // all but "." and "..", sorted by their bytes
  size_t least_block_count = 1;
};

struct DirectoryBlocks {
  std::vector<std::vector<std::byte>> blocks;
  bool has_index = false;
};

// One block if the names fit, else an index, else as many blocks as it takes.  How many there are
// does not depend on the inode numbers.  Block size and hash are the superblock's.
Result<DirectoryBlocks> directory_blocks(const ext2::Superblock& superblock,
                                         std::string_view image_name, NewDirectory directory);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_BASE_DIRECTORY_BLOCKS_H
