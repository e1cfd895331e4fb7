// SPDX-License-Identifier: BSD-3-Clause
//
// Which of a row of frozen sessions has a block, in one look-up: for each stretch of 32768 blocks
// the runs that one session has.  Session by session, a read through a hundred snapshots would
// test a hundred bits.  docs/stacks.md has the why.
#ifndef UNIONFS_OVERLAY_MERGED_SESSION_RUNS_H
#define UNIONFS_OVERLAY_MERGED_SESSION_RUNS_H

#include <atomic>
#include <cstdint>
#include <vector>

#include "overlay/merged/block_source.h"

namespace unionfs {

class MergedView;

// Immutable, but for what it remembers of stretches that were asked for; thread-safe, without a
// lock.  Refers to the views, which must outlive it.
class SessionRuns {
 public:
  // Of the sessions of `top` and all its parents, none of which changes any more.  What `below`,
  // the table of its parent, remembers is taken over, at a cost that follows that; it may be
  // nullptr, and need not outlive this one.
  SessionRuns(const MergedView& top, const SessionRuns* below);
  ~SessionRuns();
  SessionRuns(const SessionRuns&) = delete;
  SessionRuns& operator=(const SessionRuns&) = delete;

  // What `top` shows there; begin < end <= s_blocks_count.
  BlockSource source_at(BlockNumber begin, BlockNumber end) const;
  // How many bytes it remembers.
  uint64_t memory_bytes() const;

 private:
  // The first block within the stretch, above 8 bits of the number of the session that has all
  // blocks up to the next one: 0 is none, n the n-th from below.  Ascending; the first begins at 0.
  using Runs = std::vector<uint32_t>;

  const Runs& runs_of(uint64_t stretch) const;
  BlockRange blocks_of(uint64_t stretch) const;
  void take_over(const SessionRuns& below);
  // Of the views from this one up, over what is known of those below it.
  Runs make_runs(uint64_t stretch, size_t first_view, const Runs& below) const;

  std::vector<const MergedView*> views_;  // the lowest first
  BlockNumber end_;
  mutable std::vector<std::atomic<const Runs*>> stretches_;  // nullptr: not asked for yet
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_SESSION_RUNS_H
