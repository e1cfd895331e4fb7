// SPDX-License-Identifier: BSD-3-Clause
//
// A lower that is nothing but a superblock, descriptors and, if it has one, a
// resize inode: enough for its geometry, of any size and shape.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_SYNTHETIC_LOWER_H
#define UNIONFS_TESTS_UNIT_SUPPORT_SYNTHETIC_LOWER_H

#include <array>
#include <string>
#include <unordered_map>

#include "fsparse/ext2_format.h"
#include "fsparse/superblock.h"

namespace unionfs::testing {

// Keeps only the pages that were written to; the rest reads as zeros.
class SparseImage final : public Image {
 public:
  SparseImage(std::string name, uint64_t size_bytes)
      : name_(std::move(name)), size_bytes_(size_bytes) {}

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  void write(uint64_t offset, ConstByteSpan bytes);

 private:
  static constexpr uint64_t kPageBytes = 4096;

  std::string name_;
  uint64_t size_bytes_;
  std::unordered_map<uint64_t, std::array<std::byte, kPageBytes>> pages_;
};

struct SyntheticShape {
  uint32_t block_size_bytes = 1024;
  uint32_t blocks_per_group = 8192;
  uint32_t inodes_per_group = 32;
  uint32_t inode_size_bytes = 128;
  uint64_t block_count = 8193;
  bool has_sparse_super = false;
  bool has_sparse_super2 = false;
  bool has_meta_groups = false;
  uint32_t first_meta_group = 0;
  std::array<uint32_t, 2> backup_groups = {0, 0};
  uint32_t reserved_gdt_blocks = 0;  // not 0: with a resize inode

  std::string text() const;
};

// Metadata lies at each group's start, as mke2fs puts it.  `inodes_per_group`
// is rounded up to a whole block of inodes.
SparseImage make_synthetic_lower(const SyntheticShape& shape);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_SYNTHETIC_LOWER_H
