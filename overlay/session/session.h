// SPDX-License-Identifier: BSD-3-Clause
//
// A session: the client's raw blocks over the merged image, from the first
// write until a checkpoint turns them into a layer.  Requests may have any offset and
// length, and any number of them may run at once.
//
// First touches.  A block whose bit is clear is composed from lower and layer.
// The first change to it must write all of it home before its bit may be set,
// so a first touch holds the stripe lock of its block.  A change to a block
// that lies home already is a plain write without any lock.
//
// Order.  The bit is set after the data was written.  Flushing goes in rounds,
// one at a time.  A round copies the pages of the live bitmap that gained bits,
// writes the copies of the round before to the durable bitmap, and syncs.  So no bit
// is durable before its data.  A flush that finds new bits takes two rounds.  Its
// second round is the first one of the flushes that came meanwhile.
#ifndef UNIONFS_OVERLAY_SESSION_SESSION_H
#define UNIONFS_OVERLAY_SESSION_SESSION_H

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "overlay/host/clock.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"
#include "overlay/merged/merged_view.h"
#include "overlay/session/flusher.h"
#include "overlay/upper/session_bitmap.h"

namespace unionfs {

// What zero() may do beside writing zeros.
struct ZeroOptions {
  bool may_trim = false;      // give the space back
  bool must_be_fast = false;  // fail with ENOTSUP, before any effect, if it would mean writing
};

// Thread-safe, but for start() and stop().
class Session {
 public:
  // `upper` is writable, `bitmap` and `view` belong together, `area` is where
  // they lie; all outlive the session, and so does `clock`, by which its
  // threads wait.  `flusher` outlives it as well, and nullptr stands for one of its own.
  // `on_sync_failure` is called once, when a sync has failed: what was not
  // flushed may be lost, so what is live must not be believed any more.
  Session(WritableFile& upper, const StateArea& area, const MergedView& view, SessionBitmap& bitmap,
          std::function<void()> on_sync_failure, LogSink log, Clock& clock = steady_clock(),
          Flusher* flusher = nullptr);
  ~Session();

  // Begins and ends to be flushed by itself, two to four seconds after the last change.  After
  // the fork; again and again, if that is wanted.
  void start();
  void stop();

  Result<void> write(uint64_t offset, ConstByteSpan bytes);
  Result<void> zero(uint64_t offset, uint64_t length, ZeroOptions options);
  // Whole blocks inside the range read as zeros afterwards, on every host.  Only a block
  // that the upper does not hold stays as it was if the host has no room to note the trim.
  Result<void> trim(uint64_t offset, uint64_t length);
  // What was acknowledged before the call survives power loss after it.  After an error or
  // an exception the next flush does all of it, unless a sync has failed.
  Result<void> flush();

  // Syncs the upper, and nothing else; after a failure every request fails.
  Result<void> sync();
  // As if a sync had failed: every request fails from now on.  False if they did already.
  bool fail();
  bool has_failed() const { return has_failed_.load(std::memory_order_acquire); }
  // kSystem with EIO once a sync has failed.  Disk asks before every request.
  Result<void> check_alive() const;

  // Whether zero() with must_be_fast can succeed.
  bool can_zero_fast(bool may_trim) const;

 private:
  friend class Flusher;

  // What goes into a range: bytes, or zeros.
  struct Change;

  Result<void> apply(uint64_t offset, Change change);
  // Each applies the start of the change, as much as has one way, and returns
  // how many bytes that was; 0 when another request has changed the way.
  Result<uint64_t> apply_plain(uint64_t offset, const Run& run, const Change& change);
  Result<uint64_t> apply_first_touch(uint64_t offset, const Change& change);
  Result<void> write_home(uint64_t home_offset, const Change& change);
  void give_back(BlockNumber begin, BlockNumber end);
  void punch_host_block_of(BlockNumber block, BlockRange trimmed);

  Mutex& stripe_of(BlockNumber block) {
    return stripes_[block.value() / kBlocksPerStripe % stripes_.size()];
  }
  // After each change: the flusher has something to do.
  void note_change() {
    if (!has_new_changes_.load(std::memory_order_acquire)) {
      wake_flusher();
    }
  }
  void wake_flusher();
  Result<uint64_t> flush_round(uint64_t round);
  // For the flusher: whether the flush went well, or nothing is left to be done.
  bool flush_by_itself(bool& has_complained);
  bool clear_new_changes() { return has_new_changes_.exchange(false, std::memory_order_acq_rel); }
  void probe_zero_ways(const StateArea& area);

  // A stripe is a word of the bitmap; it holds host blocks whole.
  static constexpr uint64_t kBlocksPerStripe = 64;
  static constexpr uint64_t kHostBlockBytes = 4096;

  WritableFile& upper_;
  const MergedView& view_;
  SessionBitmap& bitmap_;
  std::function<void()> on_sync_failure_;
  LogSink log_;
  Clock& clock_;
  const uint32_t block_size_;
  bool can_punch_ = true;
  bool can_zero_range_ = true;
  std::array<Mutex, 256> stripes_;

  // Every request looks at these two, so they lie together.
  std::atomic<bool> has_failed_{false};  // a sync failed: nothing works until a restart
  // Whether there was a change since the flusher last cleared this; it does so at the
  // start of every time of quiet that it waits for.
  std::atomic<bool> has_new_changes_{false};

  // Rounds of flushing, counted from 1.
  Mutex flush_mutex_;
  Condition round_done_;
  uint64_t rounds_started_ UNIONFS_GUARDED_BY(flush_mutex_) = 0;
  // What came before this round began is durable.
  uint64_t flushed_through_ UNIONFS_GUARDED_BY(flush_mutex_) = 0;
  bool is_flushing_ UNIONFS_GUARDED_BY(flush_mutex_) = false;
  // Of the thread that runs a round: copies whose data is synced, and the last
  // round that went well, which made them; 0 at first and after a failure.
  std::vector<SessionBitmap::DirtyPage> synced_pages_;
  uint64_t synced_round_ = 0;

  Flusher* const given_flusher_;
  std::unique_ptr<Flusher> own_flusher_;  // where none was given
  Flusher* flusher_ = nullptr;            // one of the two, from start() on
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SESSION_SESSION_H
