// SPDX-License-Identifier: BSD-3-Clause
//
// A checkpoint up to its commit: the layer that the session would become,
// proven, readable, and not a byte of it written yet.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_NEXT_LAYER_H
#define UNIONFS_OVERLAY_CHECKPOINT_NEXT_LAYER_H

#include <memory>
#include <vector>

#include "overlay/checkpoint/checkpoint.h"
#include "overlay/host/staged_file.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/journal.h"

namespace unionfs {

// Refers to the layer it was built over, and to the bytes of its file: it is of use as
// long as nobody writes to the upper.
class NextLayer {
 public:
  // `area` is the upper's as it is now; see make_checkpoint().  An error says why the
  // session cannot become a layer.
  static Result<std::unique_ptr<NextLayer>> build(const LayerOverLower& old, const StateArea& area,
                                                  const SessionBitmap& written,
                                                  const std::atomic<bool>& is_cancelled,
                                                  const CheckpointHints& hints = {});

  // The layer as it would be, and the merged image that it gives.
  const LayerOverLower& layer() const { return *layer_; }
  const Volume& merged() const { return merged_->volume(); }
  const CheckpointFigures& figures() const { return figures_; }
  // What makes it so.  `is_cancelled` stops the writing of its journal.
  JournalPlan plan(const std::atomic<bool>& is_cancelled) const;

 private:
  explicit NextLayer(const LayerOverLower& old) : stage_(old.upper_file()) {}
  Result<void> make(const LayerOverLower& old, const StateArea& area, const SessionBitmap& written,
                    const std::atomic<bool>& is_cancelled, const CheckpointHints& hints);

  StagedFile stage_;
  std::vector<FileRange> punches_;
  CheckpointFigures figures_;
  std::unique_ptr<LayerOverLower> layer_;
  std::unique_ptr<MergedImage> merged_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_NEXT_LAYER_H
