// SPDX-License-Identifier: BSD-3-Clause
//
// A merged view as a file and as an ext2 image, so that fsparse reads the merged
// ext2 as it reads any other, and another layer can lie on it.
#ifndef UNIONFS_OVERLAY_MERGED_MERGED_IMAGE_H
#define UNIONFS_OVERLAY_MERGED_MERGED_IMAGE_H

#include <memory>
#include <string>
#include <utility>

#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// Thread-safe as the view is, which must outlive it.
class MergedFile final : public ReadableFile {
 public:
  MergedFile(std::string name, const MergedView& view) : name_(std::move(name)), view_(view) {}

  const std::string& name() const override { return name_; }
  uint64_t size_bytes() const override { return view_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  FileExtent extent_at(uint64_t offset) const override;
  void prefetch(uint64_t offset, uint64_t length) const override { view_.prefetch(offset, length); }

 private:
  std::string name_;
  const MergedView& view_;
};

// Superblock and descriptors are those of the moment of the opening.  Thread-safe as the
// view is, which must outlive it.
class MergedImage {
 public:
  // `name` is what messages call it.
  static Result<std::unique_ptr<MergedImage>> open(std::string name, const MergedView& view);

  MergedImage(const MergedImage&) = delete;
  MergedImage& operator=(const MergedImage&) = delete;

  const MergedView& view() const { return view_; }
  const ReadableFile& file() const { return file_; }
  const Volume& volume() const { return *volume_; }

 private:
  MergedImage(std::string name, const MergedView& view)
      : view_(view), file_(std::move(name), view) {}

  const MergedView& view_;
  const MergedFile file_;
  std::optional<Volume> volume_;
};

// What a layer stands on when that is a layer itself.  Immutable; thread-safe.  The layer
// below must outlive it.
class LayerBelow final : public Below {
 public:
  static Result<std::unique_ptr<LayerBelow>> open(const LayerOverLower& layer);
  // The same of the layer of a frozen level; `identity` is what the next level records.
  static Result<std::unique_ptr<LayerBelow>> open_frozen(const LayerOverLower& layer,
                                                         LevelIdentity identity);

  const ReadableFile& file() const override { return image_->file(); }
  const Volume& volume() const override { return image_->volume(); }
  LevelIdentity identity() const override { return identity_; }
  upper_format::Digest chain_digest() const override { return identity_.chain; }
  const LayerOverLower* layer() const override { return &layer_; }
  BatchReader& reader() const override { return layer_.reader(); }
  const FlatRuns* flat_runs() const override { return &flat_runs_; }

  Result<void> used_blocks(GroupNumber group, ByteSpan out) const override {
    return items_.used_blocks(group, out);
  }
  Result<void> used_inodes(GroupNumber group, ByteSpan out) const override {
    return items_.used_inodes(group, out);
  }
  Result<InodeRecord> inode_at(InodeNumber inode) const override { return items_.inode_at(inode); }
  Result<std::optional<PointerBlock>> pointers_at(InodeNumber inode,
                                                  BlockRole role) const override {
    return items_.pointers_at(inode, role);
  }
  Result<std::unique_ptr<NamesBelow>> names_of(InodeNumber directory, BlockNumber block,
                                               FileBlock file_block) const override {
    return items_.names_of(directory, block, file_block);
  }

 private:
  LayerBelow(const LayerOverLower& layer, std::unique_ptr<MergedImage> image,
             LevelIdentity identity);

  const LayerOverLower& layer_;
  const MergedItems& items_;
  const std::unique_ptr<MergedImage> image_;
  const LevelIdentity identity_;
  const FlatRuns flat_runs_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_MERGED_IMAGE_H
