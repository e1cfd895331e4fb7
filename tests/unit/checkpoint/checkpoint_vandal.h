// SPDX-License-Identifier: BSD-3-Clause
//
// Damages images as a client may that means harm or has gone mad.
#ifndef UNIONFS_TESTS_UNIT_CHECKPOINT_CHECKPOINT_VANDAL_H
#define UNIONFS_TESTS_UNIT_CHECKPOINT_CHECKPOINT_VANDAL_H

#include <random>
#include <string>
#include <vector>

#include "fsparse/inode.h"
#include "tests/unit/support/memory_image.h"

namespace unionfs::testing {

// Damages an image that was sound.  All it needs to know of the image is found
// while it is sound.
class Vandal {
 public:
  Vandal(std::vector<std::byte> image, uint64_t seed);

  // What it did, for the log.
  std::string damage();
  std::vector<std::byte> bytes();

 private:
  template <typename T>
  T pick(const std::vector<T>& from) {
    return from[random_() % from.size()];
  }
  uint32_t extreme();
  uint32_t inode_count() const { return static_cast<uint32_t>(layout_.inode_count()); }
  uint32_t some_block();
  uint64_t inode_place(uint32_t number);
  ext2::Inode& inode(uint32_t number) { return image_.edit<ext2::Inode>(inode_place(number)); }
  uint64_t any_table_block();
  void scramble(uint64_t offset, uint64_t length);

  std::string garbage(const char* what, uint64_t block);
  std::string inode_field();
  std::string inode_pointer();
  std::string inode_copied();
  std::string directory_entry();
  std::string bitmap_bits();
  std::string indirect_pointer();
  std::string xattr_bytes();
  std::string descriptor_or_superblock();
  // Two directories that contain each other, and nobody contains them.
  std::string directory_loop();

  MemoryImage image_;
  std::mt19937_64 random_;
  Layout layout_;
  std::vector<Group> groups_;
  std::vector<uint32_t> used_;
  std::vector<uint32_t> directories_;
  std::vector<uint64_t> entries_;  // offsets
  std::vector<uint64_t> blocks_;
  std::vector<uint64_t> indirect_;
  std::vector<uint64_t> names_;
  std::vector<uint64_t> xattrs_;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_CHECKPOINT_CHECKPOINT_VANDAL_H
