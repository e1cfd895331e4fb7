// SPDX-License-Identifier: BSD-3-Clause
//
// One lower and one upper as one disk: opening, checking, creating and closing.
// The data's way is MergedView (reads) and Session (writes).
#ifndef UNIONFS_OVERLAY_OVERLAY_H
#define UNIONFS_OVERLAY_OVERLAY_H

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "overlay/live_stamp.h"
#include "overlay/posix_file.h"
#include "overlay/session.h"

namespace unionfs {

struct OverlayOptions {
  std::string lower_path;
  std::string upper_path;                  // empty: a temporary upper
  std::string temporary_directory;         // where that one lives
  std::optional<uint64_t> size_bytes;      // of a new merged image, or to check an existing one
  LogSink log;
};

// prepare() checks and locks without writing a byte; the first open() decides
// whether anything will ever be written.  open() and close() are thread-safe;
// the rest is after a successful open().
class Overlay {
 public:
  static Result<std::unique_ptr<Overlay>> prepare(OverlayOptions options);
  ~Overlay();

  const Geometry& geometry() const { return *geometry_; }
  uint64_t size_bytes() const { return geometry_->size_bytes(); }

  // For each client, after the fork.  The first that may write makes the upper
  // if there is none.
  Result<void> open(bool read_only);
  // Flushes and notes that the end was orderly.  Nothing may be open.
  Result<void> close();

  const MergedView& view() const { return *view_; }
  // Only after open(false).
  Session& session() { return *session_; }
  // Reads the merged image; fails after a failed sync.
  Result<void> read(uint64_t offset, ByteSpan buffer) const;

  // For tools.
  const Volume& lower() const { return *lower_; }
  bool has_upper() const { return upper_file_ != nullptr; }
  const PosixFile& upper_file() const { return *upper_file_; }
  const StateArea& state_area() const { return area_; }

 private:
  explicit Overlay(OverlayOptions options)
      : options_(std::move(options)), reader_(options_.log) {}

  Result<void> open_lower();
  Result<void> open_upper();
  Result<void> check_size_option() const;
  Result<void> load_layer();
  Result<void> create_upper(bool read_only);
  Result<void> show_to_readers();
  Result<void> begin_session();

  OverlayOptions options_;
  std::string boot_id_;
  std::unique_ptr<PosixFile> lower_file_;
  std::optional<Volume> lower_;
  std::unique_ptr<PosixFile> upper_file_;  // nullptr until created
  bool is_upper_in_memory_ = false;        // made for readers of no upper at all
  std::optional<Geometry> geometry_;
  upper_format::LowerIdentity identity_ = {};
  StateArea area_;
  std::optional<Volume> upper_;
  std::optional<Layer> layer_;
  std::optional<Synthesis> synthesis_;
  BatchReader reader_;
  std::optional<MergedView> view_;
  std::unique_ptr<SessionBitmap> reading_bitmap_;
  std::unique_ptr<SessionBitmap> writing_bitmap_;
  std::unique_ptr<LiveStamp> stamp_;
  std::unique_ptr<Session> session_;
  std::atomic<Session*> open_session_{nullptr};  // session_, once it may be used
  std::mutex open_mutex_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_OVERLAY_H
