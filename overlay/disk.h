// SPDX-License-Identifier: BSD-3-Clause
//
// A served disk: a layer over what is below it, plus the session of its clients.
// The seven requests of a client come in here; reads go through MergedView,
// changes through Session.
#ifndef UNIONFS_OVERLAY_DISK_H
#define UNIONFS_OVERLAY_DISK_H

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "overlay/checkpoint/checkpoint.h"
#include "overlay/checkpoint/next_layer.h"
#include "overlay/host/mutex.h"
#include "overlay/merged/changing_levels.h"
#include "overlay/merged/layer_over_lower.h"
#include "overlay/merged/lower_watch.h"
#include "overlay/session/session.h"
#include "overlay/upper/journal.h"
#include "overlay/upper/live_stamp.h"

namespace unionfs {

// What a client may do.
enum class Access { kReadOnly, kReadWrite };

// Who wants a checkpoint.  Some sessions only a person can tell to be sound.
enum class AskedBy { kServer, kPerson };

// What clients have written since the last checkpoint.
struct SessionSize {
  uint64_t blocks = 0;
  uint64_t bitmap_pages = 0;
};

// attach(), close(), session_size() and the requests are thread-safe.
class Disk {
 public:
  // Checks the upper against what is below it without writing a byte; both outlive the
  // disk.  `boot_id` tells this boot of the host from any other.  `clock` is the session's.
  // `frozen` is the topmost frozen level, on which a void upper stands, and `below` the layer
  // under all sessions; nullptr where there is none.  `flusher` is of many disks, and nullptr
  // stands for one of this session's own.
  static Result<std::unique_ptr<Disk>> load(const Below& below, WritableFile& upper,
                                            std::string boot_id, LogSink log,
                                            Clock& clock = steady_clock(),
                                            const MergedView* frozen = nullptr,
                                            Flusher* flusher = nullptr);
  ~Disk();

  // The layer as of the last checkpoint.
  const LayerOverLower& layer() const { return *layer_; }
  const Geometry& geometry() const { return layer_->geometry(); }
  // The state area as it is now.
  const StateArea& state_area() const { return area_; }

  // For each client.  The first that may write begins the session: the upper
  // must be writable by then.
  Result<void> attach(Access access);

  // For a server, with its first client: compares in the background what load() left of
  // the lower.  If it turns out to be another one, every request fails.
  void watch_lower();
  // nullptr without watch_lower(), and where load() has compared everything.
  LowerWatch* lower_watch() const { return lower_watch_.get(); }

  // ---- requests ----
  //
  // Any offset and length inside the image.  After a failed sync, or where the lower is
  // another one, each of them fails until the disk is loaded anew: kSystem with EIO.
  // Those that change something need a client
  // that may write, or fail with EPERM.

  Result<void> read(uint64_t offset, ByteSpan buffer) const;
  Result<void> write(uint64_t offset, ConstByteSpan bytes);
  // See Session.
  Result<void> zero(uint64_t offset, uint64_t length, ZeroOptions options);
  Result<void> trim(uint64_t offset, uint64_t length);
  // What was answered before the call survives a power loss after it.  Where no client may
  // write there is nothing to do.
  Result<void> flush();
  // Calls visitor(offset, length, is_hole) -> bool for ascending, adjacent stretches from
  // `offset` on until the range is covered or it returns false.
  template <typename Visitor>
  Result<void> for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor) const {
    UNIONFS_TRY(check_alive());
    view().for_each_extent(offset, length, std::forward<Visitor>(visitor));
    return {};
  }
  // Tells the host what will be read soon.
  Result<void> prefetch(uint64_t offset, uint64_t length) const;

  // Whether zero() with must_be_fast can succeed.
  bool can_zero_fast(bool may_trim) const;

  // The merged image with what clients wrote.  Not for requests: a failed sync does not
  // show here.
  const MergedView& view() const { return *view_.load(std::memory_order_acquire); }

  // ---- between clients ----

  // Whether every request fails, because a sync did or the lower is another one.
  bool has_failed() const;
  // Flushes, ends the session's threads, and notes that the end was orderly.  Fails after
  // all that if the lower is another one, so that no layer is made over it.  No
  // client may be left, and none may come; after an error the disk must be loaded anew.
  Result<void> close();

  // Whether a checkpoint was committed but not brought home.  Such a disk can
  // only be read; finish_checkpoint() mends that.
  bool has_journal() const { return layer_->has_journal(); }
  Result<void> finish_checkpoint();
  // Whether it stands on a frozen session, so that a checkpoint takes that over as well.
  bool is_void() const { return parent_ != nullptr; }
  // Whether there is anything of its own that checkpoint() could turn into a layer; false
  // unless attach(Access::kReadWrite) was called.
  bool has_session() const;
  // Without a session, before attach(Access::kReadWrite): enlarges the merged image.  Afterwards
  // the disk must be loaded anew.
  Result<void> grow(const Geometry& larger);
  // After close() of a disk that was opened for writing: the session becomes the
  // layer.  Afterwards, however it ended, the disk must be loaded anew.
  // A server is refused where only a person can tell that the image is sound.
  Result<CheckpointFigures> checkpoint(AskedBy asked_by, const std::atomic<bool>& is_cancelled,
                                       const CheckpointHints& hints = {});

  // Fails where the upper has features with which this program can only read it.
  Result<void> check_can_write() const;
  // Fails, saying why, where only a person can tell.  After attach(Access::kReadWrite).
  Result<void> check_proven() const;

  // Fails where the upper is void, because its layer tells nothing.
  Result<void> check_has_layer() const;

  // For looking only, after attach(Access::kReadOnly): how many blocks the session wrote, and
  // the layer that a checkpoint would make of it.
  uint64_t session_block_count() const;
  // At any time; nothing before the first attach().
  std::optional<SessionSize> session_size() const;
  Result<std::unique_ptr<NextLayer>> next_layer();

  // ---- a snapshot while it is served (docs/stacks.md) ----
  //
  // Calls of these do not meet one another, nor attach() and close().

  // The header says that it is being frozen with this id, and that is durable.  Requests go on.
  Result<void> begin_freezing(const upper_format::Digest& id);
  // Takes that back; also of a disk that was left like this, before attach().
  Result<void> cancel_freezing();
  // Whether the session flushes by itself.
  void flush_by_itself(bool flushes);
  // What the session has written; may outlive the disk.
  std::shared_ptr<SessionBitmap> session_bitmap() const;
  // As attach() of one that may write, for the next upper over `parent`: what is not proven of
  // the session there is not proven here.  It does not flush by itself yet.
  Result<void> attach_over(const Disk& parent);
  // As attach() of one that may write, of a disk that a server was freezing when it died; for
  // finish_freezing() only.
  Result<void> attach_to_freeze();
  // Of a void upper: what its parents' sessions show is not proven, so neither is its own.
  void mark_unproven();
  // No request may come any more.  What was answered becomes durable, and then the file is
  // frozen.  After an error that is no failed sync it can be tried again.
  Result<void> finish_freezing();
  // Every request fails from now on, and what was not flushed is not believed by the next start.
  void fail();

 private:
  struct Reading;
  struct Writing;

  Disk(std::unique_ptr<LayerOverLower> layer, WritableFile& upper, std::string boot_id, LogSink log,
       Clock& clock, const MergedView* parent, Flusher* flusher);

  // The rest of checkpoint().
  Result<CheckpointFigures> checkpoint_proven(const std::atomic<bool>& is_cancelled,
                                              const CheckpointHints& hints);
  // Of a void upper: what the frozen sessions below have becomes a part of this session, and
  // the upper stands on the layer below them.
  Result<void> take_frozen_sessions();
  Result<void> check_alive() const;
  // What neither load() nor the watch has compared.
  Result<void> compare_rest_of_lower(const std::atomic<bool>& is_cancelled);
  Result<void> check_lower() const;
  // What follows from a comparison of what is below; the error is the comparison's.
  Result<void> note_other_lower(Result<void> compared);
  Result<Session*> writing_session() const;
  Result<void> show_to_readers();
  Result<void> begin_session();
  Result<std::unique_ptr<Writing>> prepare_session();
  void clear_stamp(LiveStamp& stamp) const;

  const std::unique_ptr<LayerOverLower> layer_;
  WritableFile& upper_file_;
  const std::string boot_id_;
  const LogSink log_;
  Clock& clock_;
  StateArea area_;
  const MergedView* const parent_;  // of a void upper; else nullptr
  Flusher* const flusher_;
  const MergedView unwritten_view_;
  const ChangingLevels changing_levels_;

  mutable Mutex open_mutex_;          // guards what follows while clients come
  std::unique_ptr<Reading> reading_;  // for clients that only read, until there is a session
  std::unique_ptr<Writing> writing_;
  std::unique_ptr<LowerWatch> lower_watch_;
  std::atomic<const LowerWatch*> watch_{nullptr};  // the same, for requests
  std::atomic<const MergedView*> view_;            // what requests read through
  std::atomic<Session*> session_{nullptr};         // once it has begun
  bool finishes_freezing_ = false;                 // who is attached does nothing else
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_DISK_H
