// SPDX-License-Identifier: BSD-3-Clause
//
// A layer whose lower is gone: what it says by itself, and what its records of that lower
// prove of another one.
#ifndef UNIONFS_OVERLAY_REBASE_LAYER_ALONE_H
#define UNIONFS_OVERLAY_REBASE_LAYER_ALONE_H

#include <map>
#include <memory>
#include <optional>

#include "overlay/geometry/number_sets.h"
#include "overlay/merged/merged_image.h"
#include "overlay/tree/file_state.h"

namespace unionfs {

// Where the bytes of a regular file can be read.
enum class AloneContent {
  kUnknown,     // some are the old lower's
  kOwn,         // all are the layer's: in the upper
  kFromBothOf,  // the rest is proven to be in the new lower: in LayerAlone::over_new()
};

struct AloneState {
  FileState state;
  bool has_all_attributes = true;  // false: the rest lie in a block of the old lower
};

// Not thread-safe.  Refers to the upper's file and the new lower, which must outlive it.
class LayerAlone {
 public:
  // The layer as of its last checkpoint.  Writes nothing.  Errors: see open_upper_alone();
  // kInvalid of an upper with an open session, because that means something only over its
  // own lower.
  static Result<std::unique_ptr<LayerAlone>> open(const ReadableFile& upper, const Below& new_lower,
                                                  const LogSink& log,
                                                  const std::atomic<bool>& is_cancelled);

  const Volume& upper() const { return opened_.volume; }
  const StateArea& area() const { return opened_.area; }
  const Layer& layer() const { return layer_; }
  const LowerRecords& records() const { return opened_.lower_records; }
  const Volume& theirs() const { return new_lower_.volume(); }
  uint64_t merged_bytes() const { return opened_.geometry->size_bytes(); }
  // The layer over the new lower, where both have the same geometry; else nullptr.  Right of
  // what is_as_recorded() and content_of() say, and of nothing else.
  const Volume* over_new() const { return merged_ ? &merged_->volume() : nullptr; }

  bool is_own(InodeNumber inode) const {
    return inode.value() <= upper().layout().inode_count() && own_inodes_.test(inode);
  }
  bool is_whited_out(InodeNumber inode) const {
    return inode.value() <= upper().layout().inode_count() && inode_whiteouts_.test(inode);
  }
  // Whether the old lower may have had a file of this number that is not whited out.
  bool may_be_of_old(InodeNumber inode) const;
  // Whether the own inode is another file than the old lower had under the number: it had none,
  // or one with another birth or generation, or this one was born after the old lower was last
  // written.
  Result<bool> is_new(InodeNumber inode);

  // Whether the new lower has the same under this number as the old one had: slot, block map
  // and attributes; of an own directory that is not whited out also the names.
  Result<bool> is_as_recorded(InodeNumber inode);

  // Of an own inode.
  Result<AloneContent> content_of(InodeNumber inode);
  Result<AloneState> state_of(InodeNumber inode);
  // Whether a block of attributes is not own.
  Result<bool> has_foreign_attributes(InodeNumber inode) const;

 private:
  LayerAlone(const Below& new_lower, OpenedUpper opened, Layer layer,
             const std::atomic<bool>& is_cancelled);

  Result<void> open_over_new(const ReadableFile& file, const LogSink& log);
  // The block of attributes, where it is not the layer's own.
  std::optional<BlockNumber> foreign_attributes(const InodeRecord& own) const;
  Result<bool> are_attributes_proven(const InodeRecord& own, BlockNumber block);

  const Below& new_lower_;
  const OpenedUpper opened_;
  const Layer layer_;
  const BlockSet own_blocks_;
  const InodeSet own_inodes_;
  const InodeSet inode_whiteouts_;
  const std::atomic<bool>& is_cancelled_;
  // All of these or none.
  std::unique_ptr<LayerOverLower> over_;
  std::unique_ptr<MergedImage> merged_;
  std::optional<LowerDigests> digests_;  // of the new lower
  std::map<InodeNumber, bool> recorded_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_LAYER_ALONE_H
