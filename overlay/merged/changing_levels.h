// SPDX-License-Identifier: BSD-3-Clause
//
// The levels below a disk that may become other images while they are open: those that are no
// files of the host.
#ifndef UNIONFS_OVERLAY_MERGED_CHANGING_LEVELS_H
#define UNIONFS_OVERLAY_MERGED_CHANGING_LEVELS_H

#include <vector>

#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

// Immutable; thread-safe.  Refers to the files.
class ChangingLevels {
 public:
  // What is below `layer`, and below its session the sessions that `frozen` shows; nullptr where
  // there is none.
  ChangingLevels(const LayerOverLower& layer, const MergedView* frozen);

  // Fails with EIO once one is known to be another image.  Returns at once.
  Result<void> check_not_replaced() const;
  // The same after a look at each.  May wait.  kInvalid where one is found to be another image now.
  Result<void> check_same() const;

 private:
  void add(const ReadableFile& file);

  std::vector<const ReadableFile*> files_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_CHANGING_LEVELS_H
