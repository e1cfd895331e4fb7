// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/checkpoint.h"

#include "overlay/checkpoint/next_layer.h"
#include "overlay/upper/journal.h"

namespace unionfs {

Result<CheckpointFigures> make_checkpoint(const CheckpointParts& parts) {
  UNIONFS_ASSIGN(const auto next, NextLayer::build(parts));
  UNIONFS_ASSIGN(const FileRange journal,
                 write_journal(parts.upper_file, next->plan(parts.geometry)));
  UNIONFS_TRY(commit_journal(parts.upper_file, parts.area, parts.geometry, journal));
  if (Result<void> home = replay_journal(parts.upper_file, parts.area); !home) {
    Error error = std::move(home).error();
    error.message += " (the new layer is committed; the next opening brings it home)";
    return Failure(std::move(error));
  }
  return next->figures();
}

}  // namespace unionfs
