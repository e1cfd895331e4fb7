// SPDX-License-Identifier: BSD-3-Clause
//
// What an upper says of itself when it is opened: superblock, mark and header,
// with a committed checkpoint counted as home.
#ifndef UNIONFS_OVERLAY_UPPER_UPPER_STATE_H
#define UNIONFS_OVERLAY_UPPER_UPPER_STATE_H

#include <memory>

#include "overlay/host/staged_file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// Refers to the upper it was read from, which must outlive it.
struct UpperState {
  const ReadableFile* file = nullptr;  // the upper, or `stage`
  std::unique_ptr<StagedFile> stage;   // with a journal: the upper as it will be
  StateArea journal_area;              // with a journal: the area that has it
  StateArea area;                      // of `file`; its sizes are the superblock's

  bool has_journal() const { return stage != nullptr; }
};

// Without a byte written.  kCorrupt where one of them is not as it must be, or
// where there is no mark.
Result<UpperState> read_upper_state(const ReadableFile& upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_UPPER_STATE_H
