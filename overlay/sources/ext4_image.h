// SPDX-License-Identifier: BSD-3-Clause
//
// One ext2, ext3 or ext4 image as libext2fs reads it: inodes, names, and where the bytes of files
// lie.  libext2fs's header gives names of fields to the preprocessor; nothing of it is here.
#ifndef UNIONFS_OVERLAY_SOURCES_EXT4_IMAGE_H
#define UNIONFS_OVERLAY_SOURCES_EXT4_IMAGE_H

#include <memory>
#include <string>
#include <vector>

#include "fsparse/image.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

struct Ext4Name {
  std::string name;
  uint32_t inode = 0;
};

// Stored bytes that lie one behind the other both in the file and in the image; all in bytes.
struct Ext4Run {
  uint64_t begin = 0;  // in the file
  uint64_t end = 0;
  uint64_t place = 0;  // in the image, of `begin`
};

struct Ext4Channel;  // libext2fs, and what is behind it

struct Ext4Inode {
  FileState state;  // with target and attributes; the size is that of a regular file
  bool has_inline_data = false;
};

// Errors name the image and the inode.  What is read is bounded by the size of the image,
// whatever is in it.  Not thread-safe.
class Ext4Image {
 public:
  // The superblock must have been found to fit the image's size.
  static Result<std::shared_ptr<Ext4Image>> open(std::shared_ptr<const Image> image);
  ~Ext4Image();
  Ext4Image(const Ext4Image&) = delete;
  Ext4Image& operator=(const Ext4Image&) = delete;

  const Image& image() const;

  // kUnsupported for an encrypted file.
  Result<Ext4Inode> read_inode(uint32_t number);
  // All but "." and "..", in the order they lie.  Those that lead to an inode that is the file
  // system's own (its journal, quota files) are left out.  kCorrupt for a name that no file can
  // have, or for more directory blocks in all calls together than the image can hold.
  Result<std::vector<Ext4Name>> read_names(uint32_t directory);
  // The whole file; only for those that have inline data.
  Result<std::vector<std::byte>> read_inline_data(uint32_t number);
  // Of a regular file without inline data, ascending, inside its size.  Holes, and what was set
  // aside but never written, are left out.  Good until the next call for another file.
  Result<const std::vector<Ext4Run>*> runs_of(uint32_t number, uint64_t size_bytes);

 private:
  Ext4Image();

  std::unique_ptr<Ext4Channel> channel_;
  uint32_t mapped_inode_ = 0;  // whose runs are kept
  std::vector<Ext4Run> runs_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SOURCES_EXT4_IMAGE_H
