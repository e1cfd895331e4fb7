// SPDX-License-Identifier: BSD-3-Clause
//
// A copy of an image in memory with the volume opened on it, to be damaged.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_OPEN_IMAGE_H
#define UNIONFS_TESTS_UNIT_SUPPORT_OPEN_IMAGE_H

#include <string_view>

#include "fsparse/directory.h"
#include "fsparse/volume.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs::testing {

struct OpenImage {
  explicit OpenImage(const MemoryImage& bytes, SuperblockUse use = SuperblockUse::kLower)
      : image(bytes), volume(value_of(Volume::open(image, use))) {
    image.reset_counters();
  }
  OpenImage(const OpenImage&) = delete;
  OpenImage& operator=(const OpenImage&) = delete;

  MemoryImage image;
  Volume volume;

  InodeRecord inode(InodeNumber number) const { return value_of(read_inode(volume, number)); }
  // By the name of an entry of the root directory.
  InodeRecord inode(std::string_view name) const {
    const auto found = value_of(find_name(volume, inode(kRootDirectory), name));
    if (!found) {
      FAIL("no " << name);
    }
    return inode(found->inode);
  }

  // In the image itself, to be changed.
  ext2::Inode& raw(InodeNumber number) {
    return image.edit<ext2::Inode>(inode_offset(volume.layout(), volume.groups(), number));
  }
  ByteSpan block(BlockNumber number) {
    return image.bytes(volume.layout().offset_of(number), volume.layout().block_size_bytes);
  }
  Le32& pointer(BlockNumber number, uint32_t index) {
    return image.edit<Le32>(volume.layout().offset_of(number) + index * sizeof(Le32));
  }
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_OPEN_IMAGE_H
