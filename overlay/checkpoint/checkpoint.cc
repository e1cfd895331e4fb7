// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/checkpoint.h"

#include "overlay/checkpoint/next_layer.h"
#include "overlay/upper/journal.h"

namespace unionfs {

Result<CheckpointFigures> make_checkpoint(const LayerOverLower& layer, WritableFile& upper,
                                          StateArea& area, const SessionBitmap& written,
                                          const std::atomic<bool>& is_cancelled,
                                          const CheckpointHints& hints,
                                          const std::function<Result<void>()>& before_commit) {
  UNIONFS_ASSIGN(const auto next, NextLayer::build(layer, area, written, is_cancelled, hints));
  UNIONFS_ASSIGN(const FileRange journal, write_journal(upper, next->plan(is_cancelled)));
  if (before_commit) {
    UNIONFS_TRY(before_commit());
  }
  UNIONFS_TRY(commit_journal(upper, area, journal));
  if (Result<void> home = replay_journal(upper, area); !home) {
    Error error = std::move(home).error();
    error.message += " (the new layer is committed; the next opening brings it home)";
    return Failure(std::move(error));
  }
  return next->figures();
}

}  // namespace unionfs
