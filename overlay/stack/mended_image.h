// SPDX-License-Identifier: BSD-3-Clause
//
// A frozen level as a clean ext2 image, where somebody says that its client had frozen the file
// system: what such a client leaves is not marked valid, and has open files without names.
#ifndef UNIONFS_OVERLAY_STACK_MENDED_IMAGE_H
#define UNIONFS_OVERLAY_STACK_MENDED_IMAGE_H

#include <memory>
#include <string>

#include "overlay/geometry/number_sets.h"
#include "overlay/host/cancellation.h"
#include "overlay/host/staged_file.h"
#include "overlay/merged/merged_image.h"

namespace unionfs {

// Thread-safe.  Refers to the view.
class MendedImage {
 public:
  // `name` is what messages call it.  Checks all of the file system, marks it valid, and drops
  // open files that have no name; nothing else may be wrong.  kUnsupported where it is marked as
  // having errors, kCorrupt where it does not hold together.
  static Result<std::unique_ptr<MendedImage>> make(const std::string& name, const MergedView& view,
                                                   const std::atomic<bool>& is_cancelled);

  MendedImage(const MendedImage&) = delete;
  MendedImage& operator=(const MendedImage&) = delete;

  const ReadableFile& file() const { return *stage_; }
  const Layout& layout() const { return layout_; }
  // Blocks with other bytes than the view has.
  const BlockSet& changed() const { return *changed_; }
  // Blocks that say what the files are, and not what is in them: all that a check reads.
  const BlockSet& metadata() const { return *metadata_; }
  uint64_t dropped_inodes() const { return dropped_inodes_; }
  uint64_t freed_blocks() const { return freed_blocks_; }

 private:
  MendedImage(const std::string& name, const MergedView& view) : shown_(name, view) {}

  const MergedFile shown_;
  std::unique_ptr<StagedFile> stage_;
  Layout layout_;
  std::unique_ptr<BlockSet> changed_;
  std::unique_ptr<BlockSet> metadata_;
  uint64_t dropped_inodes_ = 0;
  uint64_t freed_blocks_ = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_MENDED_IMAGE_H
