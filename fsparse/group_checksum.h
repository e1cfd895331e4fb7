// SPDX-License-Identifier: BSD-3-Clause
//
// The checksum that each group descriptor has with RO_COMPAT_GDT_CSUM: CRC-16
// of the image's UUID, the group's number and the descriptor up to the
// checksum.  Source: the kernel's
// Documentation/filesystems/ext4/group_descr.rst.
#ifndef UNIONFS_FSPARSE_GROUP_CHECKSUM_H
#define UNIONFS_FSPARSE_GROUP_CHECKSUM_H

#include <array>
#include <cstdint>

#include "fsparse/ext2_format.h"
#include "fsparse/numbers.h"

namespace unionfs {

// Immutable, so thread-safe.
class GroupChecksum {
 public:
  explicit GroupChecksum(const std::array<uint8_t, 16>& uuid);

  // bg_checksum of this descriptor; what it has there does not count.
  uint16_t of(GroupNumber group, const ext2::GroupDescriptor& descriptor) const;

 private:
  uint16_t of_uuid_;
};

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_GROUP_CHECKSUM_H
