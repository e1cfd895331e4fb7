// SPDX-License-Identifier: BSD-3-Clause
//
// Turns a session into a layer: build, prove, commit, bring home.
#ifndef UNIONFS_OVERLAY_CHECKPOINT_CHECKPOINT_H
#define UNIONFS_OVERLAY_CHECKPOINT_CHECKPOINT_H

#include <atomic>
#include <functional>

#include "overlay/checkpoint/build_layer.h"
#include "overlay/host/file.h"
#include "overlay/merged/layer_over_lower.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// `layer` is what the session lies over, `written` the session's blocks; `upper` and `area`
// are the file and its state area as they are now.  Nobody else reads or writes the merged
// image meanwhile.
//
// `is_cancelled` is looked at until the commit; then the error is ECANCELED.
// `before_commit` is called when everything else is done; its error stops it.
// An error that comes before the commit leaves the session as it was, and says
// why it cannot become a layer.  After one that comes later `area` has a
// journal, and the next opening finishes the work.  In either case, and after
// success, the disk must be loaded anew.
Result<CheckpointFigures> make_checkpoint(const LayerOverLower& layer, WritableFile& upper,
                                          StateArea& area, const SessionBitmap& written,
                                          const std::atomic<bool>& is_cancelled,
                                          const CheckpointHints& hints = {},
                                          const std::function<Result<void>()>& before_commit = {});

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECKPOINT_CHECKPOINT_H
