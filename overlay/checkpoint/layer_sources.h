// SPDX-License-Identifier: BSD-3-Clause
//
// What the next layer is built from.  Every stage of the work takes these and
// the values of the stages before it.
//
//   before: the merged image as the old layer alone gives it
//   merged: the merged image with the session, which the new layer must give
#ifndef UNIONFS_OVERLAY_CHECKPOINT_LAYER_SOURCES_H
#define UNIONFS_OVERLAY_CHECKPOINT_LAYER_SOURCES_H

#include <atomic>
#include <optional>
#include <vector>

#include "fsparse/directory.h"
#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/merged/merged_view.h"
#include "overlay/upper/layer.h"
#include "overlay/upper/lower_records.h"
#include "overlay/upper/session_bitmap.h"

namespace unionfs {

// What whoever made the changes knows, and a checkpoint would have to search for.  What is
// missing or wrong costs time, and changes nothing else.
struct CheckpointHints {
  std::vector<InodeNumber> directories;  // that name files which were changed in place
  std::vector<InodeNumber> inodes;       // whose blocks were changed in place
};

// Refers to everything; all of it must outlive the work, and nobody may write to
// the merged image meanwhile.  Not thread-safe, because of the caches.
struct LayerSources {
  const Volume& lower;
  const Volume& upper;  // the old layer's ext2 part
  const Volume& before;
  const Volume& merged;
  const MergedView& before_view;
  const MergedView& merged_view;
  const SessionBitmap& bitmap;
  const Geometry& geometry;
  const Layer& layer;                 // the old one
  const LowerRecords* lower_records;  // its; nullptr if an earlier program made it
  const CheckpointHints& hints;
  const std::atomic<bool>& is_cancelled;
  // What the bitmaps of `lower`, `before` and `merged` call used.  The stages
  // share these caches, so each bitmap is read once.
  UsedNumbers& used_below;
  UsedNumbers& used_before;
  UsedNumbers& used;

  const Layout& layout() const { return geometry.merged(); }
  uint64_t offset_of(BlockNumber block) const { return layout().offset_of(block); }
  // Whether the old layer owns it.
  bool was_own(InodeNumber inode) const;
  bool was_own(BlockNumber block) const;
  // Whether the session changed the bytes of a block; without reading them where
  // the session did not write to it.
  Result<bool> is_changed(BlockNumber block) const;
  // What the lower's directory holds; nothing if it is damaged, which may be what the
  // session mended.
  Result<std::optional<std::vector<NamedEntry>>> entries_below(const InodeRecord& directory) const;
};

// How messages call the merged image.
constexpr const char* kMergedImage = "merged image";

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_LAYER_SOURCES_H
