// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img rebase, apart from its command line and its files: plan, make, prove.
#ifndef UNIONFS_OVERLAY_REBASE_REBASE_H
#define UNIONFS_OVERLAY_REBASE_REBASE_H

#include <optional>
#include <string>

#include "overlay/changes/check_planned.h"
#include "overlay/disk.h"
#include "overlay/host/log.h"
#include "overlay/rebase/without_old.h"

namespace unionfs {

struct RebaseOptions {
  RebasePolicy policy;
  std::optional<uint64_t> size_bytes;  // of the merged image; default: as large as it was
  bool is_dry_run = false;
  bool verifies_all = false;  // compares all of the new lower besides
  // Makes the layer anew also where the new lower is as the old one.
  bool always_makes = false;
};

// What became of it.
struct RebaseOutcome {
  RebaseReport report;
  // The layer lies over the new lower already, because that is as the old one wherever the
  // layer depends on it.  Nothing else here says anything then.
  bool is_same_lower = false;
  bool is_done = false;           // the new layer is in `target`, synced and proven
  uint64_t old_merged_bytes = 0;  // sizes of the merged images
  uint64_t new_merged_bytes = 0;
  ProofFigures proof;
  uint64_t verified_bytes = 0;  // with verifies_all: of the new lower, beside the plan
  CheckpointFigures checkpoint;
};

// `old` is the upper over the old lower, attached for reading; its session counts as the layer
// that a checkpoint would make of it, and an error says why it cannot become one.  `target` is
// new and empty; nothing is written to it in a dry run, nor where conflicts are undecided or a
// limit is exceeded.  After an error it is of no use.  `progress` gets a line now and then; it
// may be empty.  ECANCELED when that was asked for.
Result<RebaseOutcome> rebase(Disk& old, const Below& new_lower, WritableFile& target,
                             const RebaseOptions& options, const std::string& boot_id,
                             const LogSink& log, const LogSink& progress,
                             const std::atomic<bool>& is_cancelled);

// The same where the old lower is gone.  `layer` was opened over the same new lower.
Result<RebaseOutcome> rebase_without_old(LayerAlone& layer, const Below& new_lower,
                                         WritableFile& target, const RebaseOptions& options,
                                         const std::string& boot_id, const LogSink& log,
                                         const LogSink& progress,
                                         const std::atomic<bool>& is_cancelled);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_REBASE_REBASE_H
