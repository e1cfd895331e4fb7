// SPDX-License-Identifier: BSD-3-Clause
//
// A lower and an existing upper as one disk, whatever files they are.  The
// data's way is MergedView (reads) and Session (writes); this class loads the
// layer and decides, at the first client, whether a session is begun.
#ifndef UNIONFS_OVERLAY_DISK_H
#define UNIONFS_OVERLAY_DISK_H

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "overlay/checkpoint/checkpoint.h"
#include "overlay/checkpoint/next_layer.h"
#include "overlay/host/log.h"
#include "overlay/session/session.h"
#include "overlay/upper/journal.h"
#include "overlay/upper/live_stamp.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {

// open(), read(), flush() and close() are thread-safe; session() is after open(false).
class Disk {
 public:
  // Checks the upper against the lower without writing a byte.  `lower_file`
  // is what `lower` was opened from; these and `upper` outlive the disk.
  // `boot_id` tells this boot of the host from any other.
  static Result<std::unique_ptr<Disk>> load(const Volume& lower, const ReadableFile& lower_file,
                                            WritableFile& upper, std::string boot_id, LogSink log);

  const Geometry& geometry() const { return *geometry_; }
  const StateArea& state_area() const { return area_; }
  const Layer& layer() const { return *layer_; }
  const MergedView& view() const { return *view_; }
  // The upper's ext2 part: the layer as of the last checkpoint.
  const Volume& upper() const { return *upper_; }

  // For each client.  The first that may write begins the session: the upper
  // must be writable by then.
  Result<void> open(bool read_only);
  // Reads the merged image; fails after a failed sync.
  Result<void> read(uint64_t offset, ByteSpan buffer) const;
  Session& session() { return *session_; }
  // Of what clients wrote so far; where none may write there is nothing to do.
  Result<void> flush();
  // Whether a sync has failed, so that every request does.
  bool has_failed() const { return session_ != nullptr && session_->has_failed(); }
  // Flushes, ends the session's threads, and notes that the end was orderly.  No
  // client may be left, and none may come; after an error the disk must be loaded anew.
  Result<void> close();

  // Whether a checkpoint was committed but not brought home.  Such a disk can
  // only be read; finish_checkpoint() mends that.
  bool has_journal() const { return stage_ != nullptr; }
  Result<void> finish_checkpoint() { return finish_journal(upper_file_, journal_area_); }
  // Whether there is anything that checkpoint() could turn into a layer; false
  // unless open(false) was called.
  bool has_session() const;
  // Without a session, before open(false): enlarges the merged image.  Afterwards
  // the disk must be loaded anew.
  Result<void> grow(const Geometry& larger);
  // After close() of a disk that was opened for writing: the session becomes the
  // layer.  Afterwards, however it ended, the disk must be loaded anew.
  // `by_itself` is refused where only a person can tell that the image is sound.
  Result<CheckpointFigures> checkpoint(bool by_itself, const std::atomic<bool>& is_cancelled);

  // Fails, saying why, where only a person can tell.  After open(false).
  Result<void> check_proven() const;

  // For looking only, after open(true): how many blocks the session wrote, and
  // the layer that a checkpoint would make of it.
  uint64_t session_block_count() const;
  Result<std::unique_ptr<NextLayer>> next_layer();

 private:
  Disk(const Volume& lower, const ReadableFile& lower_file, WritableFile& upper,
       std::string boot_id, LogSink log)
      : lower_(lower),
        lower_file_(lower_file),
        upper_file_(upper),
        boot_id_(std::move(boot_id)),
        log_(log),
        reader_(std::move(log)) {}

  Result<void> load_layer();
  Result<ext2::Superblock> read_superblock() const;
  Result<void> show_to_readers();
  Result<void> begin_session();
  Result<void> try_to_begin();

  const Volume& lower_;
  const ReadableFile& lower_file_;
  WritableFile& upper_file_;
  std::string boot_id_;
  LogSink log_;
  BatchReader reader_;
  StateArea area_;
  StateArea journal_area_;             // with a journal: the area that has it
  std::unique_ptr<StagedFile> stage_;  // with a journal: the upper as it will be
  std::optional<Volume> upper_;
  std::optional<Geometry> geometry_;
  std::optional<Layer> layer_;
  std::optional<Synthesis> synthesis_;
  std::optional<MergedView> view_;

  std::mutex open_mutex_;  // guards what follows while clients come
  std::unique_ptr<SessionBitmap> reading_bitmap_;
  std::unique_ptr<SessionBitmap> writing_bitmap_;
  std::unique_ptr<LiveStamp> stamp_;
  std::unique_ptr<Session> session_;
  ext2::Superblock first_superblock_ = {};        // merged, when the session was opened
  std::atomic<Session*> begun_session_{nullptr};  // session_, once it may be used
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_DISK_H
