// SPDX-License-Identifier: BSD-3-Clause
//
// The checkpoint's journal: all that turns the session into the new layer, in
// the upper itself, so that a crash leaves either the one or the other.
//
//   journal written, synced -> header names it, synced: committed
//   -> dead ranges are punched, bytes go home, synced
//   -> a header retires journal and session, synced
#ifndef UNIONFS_OVERLAY_UPPER_JOURNAL_H
#define UNIONFS_OVERLAY_UPPER_JOURNAL_H

#include <atomic>
#include <vector>

#include "overlay/host/file.h"
#include "overlay/host/staged_file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// What a checkpoint is going to do to the upper.
struct JournalPlan {
  const StagedFile& stage;           // bytes that go home
  std::vector<FileRange> punches;    // ranges that mean nothing afterwards
  uint64_t file_size_bytes = 0;      // afterwards
  upper_format::Header header = {};  // afterwards
  // Who may stop the writing of the journal; nullptr for nobody.
  const std::atomic<bool>* is_cancelled = nullptr;
};

// Writes the journal past everything that counts before or after, takes the space that
// bringing it home needs, and syncs.  After an error, ECANCELED among them, the upper has
// its former length.
Result<FileRange> write_journal(WritableFile& upper, const JournalPlan& plan);
// Commits it by a header, durably.  `area` is the one that counts so far; it
// gains the journal.
Result<void> commit_journal(WritableFile& upper, StateArea& area, const FileRange& journal);

// Brings a journal home and retires it.  Its commit and the mark that leads to it
// must be durable.  May be repeated after a crash at any point.  Afterwards the upper's
// header must be read anew.
Result<void> replay_journal(WritableFile& upper, const StateArea& area);
// The same for a journal that was found when the upper was opened: perhaps the host
// has its commit in the cache alone, so that is written once more first.
Result<void> finish_journal(WritableFile& upper, const StateArea& area);

// Shows the committed journal on an empty stage, its header too, because a reader may not
// write it home.  The bytes stay where they are in the upper.
Result<void> stage_journal(StagedFile& stage, const ReadableFile& upper, const StateArea& area);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_JOURNAL_H
