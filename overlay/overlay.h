// SPDX-License-Identifier: BSD-3-Clause
//
// From two paths to a disk: opening, locking and checking the images, and
// making an upper where there is none.  The disk itself is overlay/disk.h.
#ifndef UNIONFS_OVERLAY_OVERLAY_H
#define UNIONFS_OVERLAY_OVERLAY_H

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "overlay/changes/foreign_tree.h"
#include "overlay/disk.h"
#include "overlay/host/clock.h"
#include "overlay/host/log.h"
#include "overlay/host/posix_file.h"
#include "overlay/merged/lower_image.h"

namespace unionfs {

struct OverlayOptions {
  std::string lower_path;
  std::string upper_path;              // empty: a temporary upper, gone at the end
  std::string temporary_directory;     // where that one lives
  std::optional<uint64_t> size_bytes;  // of the merged image; none: as it is, or the default
  LogSink log;
  LogSink progress;                // of what takes long, a line every few seconds; may be empty
  Clock* clock = &steady_clock();  // of the session and of the progress; outlives the overlay
};

// prepare() locks and checks without writing a byte; the first open() decides
// whether anything will ever be written.  open() is thread-safe.
class Overlay {
 public:
  static Result<std::unique_ptr<Overlay>> prepare(OverlayOptions options);

  uint64_t size_bytes() const { return size_bytes_; }

  // For each client, after the fork.  Makes the upper if there is none: the
  // one asked for, or, for a client that only reads, an empty one in memory.
  Result<void> open(Access access);
  // After the last client: see Disk::close().
  Result<void> close();
  // Between clients: turns the session into the layer; nothing when there is no
  // session, or when it is cancelled already.  On an error nothing is lost.
  Result<std::optional<CheckpointFigures>> checkpoint(AskedBy asked_by);
  // While true, a checkpoint that is not committed gives up with ECANCELED.
  void cancel_checkpoint(bool cancel) { is_cancelled_.store(cancel); }

  // Only after a successful open().
  Disk& disk() { return *disk_; }

 private:
  explicit Overlay(OverlayOptions options) : options_(std::move(options)) {}

  Result<void> open_lower();
  Result<void> open_upper();
  Result<void> open_foreign();
  Result<void> load_disk();
  // What the disk has to grow to, if anything.
  Result<std::optional<Geometry>> larger_than(Disk& disk);
  Result<void> create_upper(Access access);
  Result<void> create_upper_file(Access access);

  OverlayOptions options_;
  std::string boot_id_;
  uint64_t size_bytes_ = 0;
  std::unique_ptr<PosixFile> lower_file_;
  std::unique_ptr<LowerImage> lower_;

  std::mutex open_mutex_;                  // guards what follows while clients come
  std::unique_ptr<PosixFile> upper_file_;  // nullptr until there is one
  bool is_upper_for_readers_ = false;      // in memory or temporary, gone with them
  // An upper made elsewhere, until it was imported; a server that only reads
  // keeps it, and serves a temporary one.
  std::unique_ptr<PosixFile> foreign_file_;
  std::optional<ForeignTree> foreign_;
  std::unique_ptr<Disk> disk_;
  std::optional<Geometry> larger_;  // what it has to grow to
  std::atomic<bool> is_cancelled_{false};
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_OVERLAY_H
