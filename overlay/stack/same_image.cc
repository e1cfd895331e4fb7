// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/same_image.h"

#include <vector>

namespace unionfs {

Result<void> prove_same_boot_area(const Volume& wanted, const Volume& found,
                                  const std::string& name) {
  std::vector<std::byte> expected(ext2::kSuperblockOffsetBytes);
  std::vector<std::byte> shown(expected.size());
  UNIONFS_TRY(wanted.image().read(0, expected));
  UNIONFS_TRY(found.image().read(0, shown));
  if (expected != shown) {
    return corrupt("{}: would give another boot area", name);
  }
  return {};
}

Result<void> prove_same_counters(const Volume& wanted, const Volume& found,
                                 const std::string& name) {
  for (uint32_t number = 0; number < wanted.layout().group_count(); ++number) {
    const Group& expected = wanted.group(GroupNumber(number));
    const Group& shown = found.group(GroupNumber(number));
    if (expected.free_blocks_count != shown.free_blocks_count ||
        expected.free_inodes_count != shown.free_inodes_count ||
        expected.used_dirs_count != shown.used_dirs_count) {
      return corrupt("{}: would give other counters of group {}", name, number);
    }
  }
  return {};
}

}  // namespace unionfs
