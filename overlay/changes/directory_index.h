// SPDX-License-Identifier: BSD-3-Clause
//
// Builds a directory with a hash index (htree) from its names.
#ifndef UNIONFS_OVERLAY_CHANGES_DIRECTORY_INDEX_H
#define UNIONFS_OVERLAY_CHANGES_DIRECTORY_INDEX_H

#include <string>
#include <string_view>
#include <vector>

#include "fsparse/ext2_format.h"
#include "fsparse/numbers.h"
#include "fsparse/result.h"

namespace unionfs {

struct IndexedName {
  uint32_t hash = 0;  // filled in
  std::string name;
  InodeNumber inode;
  uint8_t file_type = 0;
};

// The blocks of the directory in order.  None if there are more names than an
// index of two levels holds, or the image has a hash that is not known: then it
// must do without.  `names` are all but "." and "..", whose type is `dot_type`.
// Block size and hash are the superblock's; `image_name` is for messages.
Result<std::vector<std::vector<std::byte>>> index_directory(const ext2::Superblock& superblock,
                                                            std::string_view image_name,
                                                            InodeNumber directory,
                                                            InodeNumber parent, uint8_t dot_type,
                                                            std::vector<IndexedName> names);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHANGES_DIRECTORY_INDEX_H
