// SPDX-License-Identifier: BSD-3-Clause
//
// One opened ext2 image: its checked superblock and group descriptors, and
// reading of its blocks.
#ifndef UNIONFS_FSPARSE_VOLUME_H
#define UNIONFS_FSPARSE_VOLUME_H

#include <cassert>
#include <optional>
#include <string>
#include <vector>

#include "fsparse/groups.h"
#include "fsparse/image.h"
#include "fsparse/superblock.h"

namespace unionfs {

// Immutable, so thread-safe.  Refers to the Image, which must outlive it.
class Volume {
 public:
  static Result<Volume> open(const Image& image, SuperblockUse use);

  // The same volume, read through another image that has the same bytes.
  Volume through(const Image& image) const { return Volume(image, superblock_, groups_); }

  const Image& image() const { return *image_; }
  const std::string& name() const { return image_->name(); }
  const Superblock& superblock() const { return superblock_; }
  const Layout& layout() const { return superblock_.layout(); }
  const std::vector<Group>& groups() const { return groups_; }
  const Group& group(GroupNumber number) const {
    assert(number.value() < groups_.size());
    return groups_[number.value()];
  }

  // Reads a whole block; `buffer` is exactly one block long.
  Result<void> read_block(BlockNumber block, ByteSpan buffer) const;

  // The block, if a file could have it at all: behind s_first_data_block (block 0 is
  // the boot block or the superblock) and inside the image.
  std::optional<BlockNumber> file_block(ClaimedBlock claimed) const;
  // Whether the block holds a superblock or descriptor copy, a bitmap or a part
  // of an inode table.  `block` must be inside.
  bool is_metadata(BlockNumber block) const;
  // Whether the block is kept back for descriptors to come, as data of the
  // resize inode.  `block` must be inside.
  bool is_reserved_for_descriptors(BlockNumber block) const;

 private:
  Volume(const Image& image, const Superblock& superblock, std::vector<Group> groups)
      : image_(&image), superblock_(superblock), groups_(std::move(groups)) {}

  const Image* image_;
  Superblock superblock_;
  std::vector<Group> groups_;
};

}  // namespace unionfs

#endif  // UNIONFS_FSPARSE_VOLUME_H
