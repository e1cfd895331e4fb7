// SPDX-License-Identifier: BSD-3-Clause
//
// The lower: an ext2 image that nobody writes, at the bottom of everything.
#ifndef UNIONFS_OVERLAY_MERGED_LOWER_IMAGE_H
#define UNIONFS_OVERLAY_MERGED_LOWER_IMAGE_H

#include <utility>

#include "overlay/host/batch_reader.h"
#include "overlay/merged/below.h"
#include "overlay/merged/name_tables.h"

namespace unionfs {

class LowerImage final : public Below {
 public:
  // Checks superblock and descriptors.  The file must outlive the image.
  static Result<std::unique_ptr<LowerImage>> open(const ReadableFile& file);

  const ReadableFile& file() const override { return file_; }
  const Volume& volume() const override { return volume_; }
  BatchReader& reader() const override { return reader_; }
  upper_format::Digest chain_digest() const override { return chain_digest_of_lower(volume_); }

  Result<void> used_blocks(GroupNumber group, ByteSpan out) const override;
  Result<void> used_inodes(GroupNumber group, ByteSpan out) const override;
  Result<InodeRecord> inode_at(InodeNumber inode) const override;
  Result<std::optional<PointerBlock>> pointers_at(InodeNumber inode, BlockRole role) const override;
  Result<std::unique_ptr<NamesBelow>> names_of(InodeNumber directory, BlockNumber block,
                                               FileBlock file_block) const override;

 private:
  LowerImage(const ReadableFile& file, Volume volume)
      : file_(file), volume_(std::move(volume)), names_(volume_) {}

  const ReadableFile& file_;
  const Volume volume_;
  const NameTables names_;
  mutable BatchReader reader_;  // thread-safe
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_LOWER_IMAGE_H
