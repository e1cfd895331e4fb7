// SPDX-License-Identifier: BSD-3-Clause
//
// An image as libext2fs's io_manager, for reading.  To be included behind all other headers,
// because libext2fs's own gives names of fields to the preprocessor.
#ifndef UNIONFS_OVERLAY_SOURCES_EXT4_CHANNEL_H
#define UNIONFS_OVERLAY_SOURCES_EXT4_CHANNEL_H

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "fsparse/image.h"

#include <ext2fs/ext2fs.h>

namespace unionfs {

// libext2fs's handle, and what is behind it.  Its address must not change.
struct Ext4Channel {
  explicit Ext4Channel(std::shared_ptr<const Image> read_image);
  ~Ext4Channel();
  Ext4Channel(const Ext4Channel&) = delete;
  Ext4Channel& operator=(const Ext4Channel&) = delete;

  Result<void> open();
  // What a function of libext2fs answered; success for 0.  `what` says of what.
  Result<void> check(errcode_t code, const std::string& what);
  uint64_t block_size_bytes() const { return file_system->blocksize; }
  uint64_t block_count() const { return ext2fs_blocks_count(file_system->super); }
  std::string name_of(uint32_t inode) const;

  std::shared_ptr<const Image> image;
  struct_io_channel handle = {};
  struct_io_manager manager = {};
  ext2_filsys file_system = nullptr;
  std::optional<Error> first_error;  // libext2fs carries only a number on
  // How many blocks may be read yet; without, as many as are wanted.
  std::optional<uint64_t> blocks_left;
  // What the blocks of all directories may be together, and the values of all attributes.
  uint64_t directory_blocks_left = 0;
  uint64_t attribute_bytes_left = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_EXT4_CHANNEL_H
