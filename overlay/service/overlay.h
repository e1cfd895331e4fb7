// SPDX-License-Identifier: BSD-3-Clause
//
// From two paths to a disk: opening, locking and checking the images, and
// making an upper where there is none.  The disk itself is overlay/disk.h.
//
// What is known of the upper is one of four states:
//
//     NoUpper    ForeignUpper           prepare() begins in one of these, or, with
//        |            |                 an upper of ours, in the two below
//        +-----+------+
//              | make_upper()           at the first client
//              v
//         ClosedUpper <------------+    a file that is an upper of ours
//              | load()            | take_disk()
//              v                   |
//         LoadedUpper -------------+    before its bytes change other than by a
//                                       session: a journal is brought home, the upper
//                                       grows, a session becomes the layer
//
// An error leaves the state from which the next client tries again.  The disk of a
// LoadedUpper may have failed, because a sync did; then it stays, and so do its errors,
// until the server is started again.
#ifndef UNIONFS_OVERLAY_SERVICE_OVERLAY_H
#define UNIONFS_OVERLAY_SERVICE_OVERLAY_H

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

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
  std::optional<uint32_t> mode;        // of a new upper; none: by the lower's
  // What clients may do at most; none: that is not known before they come.
  std::optional<Access> server_access;
  LogSink log;
  LogSink progress;                // of what takes long, a line every few seconds; may be empty
  Clock* clock = &steady_clock();  // of the session and of the progress; outlives the overlay
  // What the disk is given instead of an upper's file, so that a test can make it fail.
  // Called for each upper once; the file outlives what is made.  May be empty.
  std::function<std::unique_ptr<WritableFile>(WritableFile&)> wrap_upper;
};

// Whether a checkpoint that failed has made the layer all the same.
enum class Commitment {
  kNone,       // no: the session is as it was
  kCommitted,  // yes: the new layer is what is served from now on
  kUnknown,    // the upper could not be opened again: whoever opens it next will see
};

struct CheckpointFailure {
  Error error;
  Commitment commitment = Commitment::kNone;
};

// One line for the log: what has failed, and what became of the session.
std::string describe(const CheckpointFailure& failure);

// No figures where there was nothing to do.
class [[nodiscard]] CheckpointResult
    : public tl::expected<std::optional<CheckpointFigures>, CheckpointFailure> {
 public:
  using expected::expected;
};

// prepare() locks and checks without writing a byte that stays.  What it knows of
// OverlayOptions::server_access it uses to find at once what would stop a client.  The first
// open() decides whether anything will ever be written.  open(), close() and checkpoint() are
// thread-safe.
class Overlay {
 public:
  static Result<std::unique_ptr<Overlay>> prepare(OverlayOptions options);

  // Of the merged image, from prepare() on.
  uint64_t size_bytes() const { return size_bytes_; }
  // As it was given; empty if there is none.
  const std::string& upper_path() const { return options_.upper_path; }

  // For each client, after the fork.  Makes the upper if there is none: the
  // one asked for, or, for a client that only reads, an empty one in memory.
  // EBUSY for a client that may write, while others read through the journal of a
  // checkpoint that has to be brought home first.
  Result<void> open(Access access);
  // After the last client: see Disk::close().
  Result<void> close();
  // Between clients: turns the session into the layer; nothing when there is no
  // session, or when it is cancelled already.  On an error nothing is lost: the
  // session is there, or the layer that was made of it.
  CheckpointResult checkpoint(AskedBy asked_by);
  // Whether an earlier server has left a session.  Before the first client; writes nothing.
  Result<bool> has_left_session();
  // Makes that session this server's, as a client that may write does, so that checkpoint()
  // finds it.  Does nothing when a client has read, because the disk is its.
  Result<void> take_left_session();
  // While true, a checkpoint that is not committed gives up with ECANCELED.
  void cancel_checkpoint(bool cancel) { is_cancelled_.store(cancel); }

  // Only after a successful open(), until the last client has gone.
  Disk& disk() { return *std::get_if<LoadedUpper>(&state_)->disk; }

 private:
  // How long an upper's file lives.
  enum class Keeping {
    kNamed,       // it has the name that was asked for
    kTemporary,   // as long as the server
    kForReaders,  // the same, and nobody may write
  };

  // There is none; its size is settled.
  struct NoUpper {};
  // Made elsewhere, and waits to be imported.
  struct ForeignUpper {
    std::unique_ptr<PosixFile> file;
    ForeignTree tree;
  };
  // An upper of ours, which is not looked into.
  struct ClosedUpper {
    std::unique_ptr<PosixFile> file;
    Keeping keeping = Keeping::kNamed;
    std::unique_ptr<PosixFile> foreign = nullptr;     // what it was imported from; stays locked
    std::unique_ptr<WritableFile> wrapper = nullptr;  // OverlayOptions::wrap_upper's

    WritableFile& bytes() const { return wrapper != nullptr ? *wrapper : *file; }
  };
  // The same with a disk, which may have to grow first.
  struct LoadedUpper {
    ClosedUpper upper;
    std::unique_ptr<Disk> disk;
    std::optional<Geometry> larger;
    bool has_readers = false;  // a client was there that only reads
    bool is_in_use = false;    // one is there, or may be
  };

  explicit Overlay(OverlayOptions options) : options_(std::move(options)) {}

  Result<void> open_lower();
  // The first state.
  Result<void> open_upper();
  Result<std::unique_ptr<PosixFile>> find_upper() const;
  Result<void> expect_upper();
  Result<void> check_is_meant(const ForeignTree& tree) const;
  Result<void> open_foreign(std::unique_ptr<PosixFile> file);
  // Whether the first client of a server of this access will get what it needs, as far as
  // that shows now.
  Result<void> check_can_make() const;
  Result<void> check_can_open() const;
  // NoUpper or ForeignUpper -> ClosedUpper; after an error the same, or ClosedUpper when
  // the file has got its name.
  Result<void> make_upper(Access access);
  Keeping keeping_for(Access access) const;
  Result<std::unique_ptr<PosixFile>> create_file(Keeping keeping) const;
  Result<void> set_mode_of(PosixFile& file) const;
  void tell_of_new(Keeping keeping) const;
  Result<void> fill_and_publish(PosixFile& file, Keeping keeping);
  // ClosedUpper -> LoadedUpper; after an error the same.
  Result<void> load();
  Result<std::optional<Geometry>> larger_than(Disk& disk, const PosixFile& file) const;
  // A named upper's, if it is loaded and may have a session.
  LoadedUpper* loaded_with_session();
  // Whether the disk can be attached to.  If not, it was made so: LoadedUpper -> ClosedUpper.
  Result<bool> make_ready(LoadedUpper& loaded, Access access);
  // LoadedUpper -> ClosedUpper.
  std::unique_ptr<Disk> take_disk();
  // ClosedUpper -> LoadedUpper, after a checkpoint of this session that ended so.
  CheckpointResult load_after_checkpoint(uint64_t session_number,
                                         Result<CheckpointFigures> figures);

  OverlayOptions options_;
  std::string boot_id_;
  uint64_t size_bytes_ = 0;
  std::unique_ptr<PosixFile> lower_file_;
  std::unique_ptr<LowerImage> lower_;
  std::atomic<bool> is_cancelled_{false};

  std::mutex mutex_;  // guards state_ while clients come
  std::variant<NoUpper, ForeignUpper, ClosedUpper, LoadedUpper> state_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_OVERLAY_H
