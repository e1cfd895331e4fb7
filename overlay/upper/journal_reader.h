// SPDX-License-Identifier: BSD-3-Clause
//
// A checkpoint's journal as it lies in an upper.  Whoever made the upper chose its
// numbers, so each is bounded here: by the journal's own length, by the place of the
// journal, behind which nothing is, and by the order in which a writer puts them.
#ifndef UNIONFS_OVERLAY_UPPER_JOURNAL_READER_H
#define UNIONFS_OVERLAY_UPPER_JOURNAL_READER_H

#include <vector>

#include "overlay/host/file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// No run is longer.
inline constexpr uint64_t kMaxJournalRunBytes = uint64_t{1} << 20;

// Bytes that go home.
struct JournaledRun {
  FileRange home;       // in the upper; not empty
  uint64_t source = 0;  // offset of the bytes in the upper, inside the journal
};

// Immutable once opened; thread-safe.
class JournalReader {
 public:
  // Reads and checks all of it, with its checksum.  Time and memory follow what the
  // journal has on the disk: a hole is no longer than a run of zeros can be.  kCorrupt
  // if it is not what a writer makes.
  static Result<JournalReader> open(const ReadableFile& upper, const StateArea& area);

  // Of the upper, afterwards.
  uint64_t file_size_bytes() const { return head_.file_size; }
  // The header that counts afterwards.  It names no journal.
  const upper_format::Header& header() const { return head_.header; }
  // Ascending, disjoint; they and the punches end before the journal begins.
  const std::vector<JournaledRun>& runs() const { return runs_; }
  // What means nothing afterwards, without what the runs write: so no run needs space
  // that a punch has given back.  Ascending, disjoint, none of them empty.
  const std::vector<FileRange>& punches() const { return punches_; }

 private:
  JournalReader(const ReadableFile& upper, const FileRange& range) : upper_(upper), range_(range) {}

  Result<void> check_head();
  Result<void> check_checksum() const;
  Result<void> take_punches(uint64_t& offset);
  Result<void> take_runs(uint64_t& offset);
  Result<FileRange> take(uint64_t& offset, const char* what) const;
  void cut_punches();
  template <typename... Args>
  Failure damaged(fmt::format_string<Args...> format, Args&&... args) const;

  const ReadableFile& upper_;
  FileRange range_;  // of the journal
  upper_format::JournalHead head_ = {};
  std::vector<JournaledRun> runs_;
  std::vector<FileRange> punches_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_JOURNAL_READER_H
