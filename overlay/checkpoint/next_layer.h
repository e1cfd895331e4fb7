// SPDX-License-Identifier: BSD-3-Clause
//
// A checkpoint up to its commit: the layer that the session would become,
// proven, readable, and not a byte of it written yet.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_NEXT_LAYER_H
#define UNIONFS_OVERLAY_CHECKPOINT_NEXT_LAYER_H

#include <memory>
#include <optional>
#include <vector>

#include "overlay/checkpoint/checkpoint.h"
#include "overlay/host/staged_file.h"
#include "overlay/merged/view_image.h"
#include "overlay/upper/journal.h"

namespace unionfs {

// A merged view of lower and layer without any session.  Thread-safe as the
// view is; refers to what it is made of.
class LayerView {
 public:
  LayerView(const CheckpointParts& parts, const ReadableFile& upper_file, const Volume& upper,
            const Layer& layer);

  const MergedView& view() const { return view_; }

 private:
  BatchReader reader_;
  Synthesis synthesis_;
  std::unique_ptr<SessionBitmap> bitmap_;
  MergedView view_;
};

// Refers to the parts it was built from, and to their bytes: it is of use as
// long as nobody writes to the upper.
class NextLayer {
 public:
  // An error says why the session cannot become a layer.
  static Result<std::unique_ptr<NextLayer>> build(const CheckpointParts& parts);

  // The upper's ext2 part, the layer and the merged image, as they would be.
  const Volume& upper() const { return *upper_; }
  const Layer& layer() const { return *layer_; }
  const Volume& merged() const { return *merged_; }
  const CheckpointFigures& figures() const { return figures_; }
  // What makes it so.
  JournalPlan plan(const Geometry& geometry) const;

 private:
  explicit NextLayer(const CheckpointParts& parts) : stage_(parts.upper_file) {}
  Result<void> make(const CheckpointParts& parts);

  StagedFile stage_;
  StateArea area_;
  std::vector<FileRange> punches_;
  CheckpointFigures figures_;
  std::optional<Volume> upper_;
  std::optional<Layer> layer_;
  std::optional<LayerView> view_;
  std::optional<ViewImage> image_;
  std::optional<Volume> merged_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_NEXT_LAYER_H
