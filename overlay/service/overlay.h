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
#include <optional>
#include <string>
#include <variant>

#include "overlay/changes/foreign_tree.h"
#include "overlay/disk.h"
#include "overlay/host/clock.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"
#include "overlay/host/posix_file.h"
#include "overlay/service/gated_disk.h"
#include "overlay/stack/chain.h"

namespace unionfs {

// How far a snapshot has come; for tests, which stop it there.
enum class SnapshotStep {
  kNextUpper,  // the next upper has its hidden name
  kFreezing,   // the header of this one says what is going on
  kNamed,      // it has its second name
  kClosed,     // no request is there
  kRenamed,    // the next upper has the name: the commit
  kServed,     // requests go on
  kFrozen,     // what is below is frozen
};

// What prepare() shall find under the upper's name.
enum class ExpectedUpper {
  kAny,    // an upper, or none; links are followed
  kThere,  // an upper, and no link leads to it
  kNone,   // nothing at all
};

struct OverlayOptions {
  LevelPaths level_paths;  // what is below: the lower, then sealed layers
  // The same, opened already and shared with other overlays; nullptr: level_paths count.
  std::shared_ptr<const Chain> base = nullptr;
  // Of levels that another server has; of those of `base` only the timeout.
  RemoteOptions remote;
  LevelCache cache;        // of the lower, if that is remote
  std::string upper_path;  // empty: a temporary upper, gone at the end
  ExpectedUpper expected_upper = ExpectedUpper::kAny;
  std::string temporary_directory;     // where that one lives
  std::optional<uint64_t> size_bytes;  // of the merged image; none: as it is, or the default
  std::optional<uint32_t> mode;        // of a new upper; none: by the lower's
  // What clients may do at most; none: that is not known before they come.
  std::optional<Access> server_access;
  LogSink log;
  LogSink progress;                // of what takes long, a line every few seconds; may be empty
  Clock* clock = &steady_clock();  // of the session and of the progress; outlives the overlay
  Flusher* flusher = nullptr;      // of many disks, outlives them; nullptr: each has its own
  // What the disk is given instead of an upper's file, so that a test can make it fail.
  // Called for each upper once; the file outlives what is made.  May be empty.
  std::function<std::unique_ptr<WritableFile>(WritableFile&)> wrap_upper;
  // Called when a snapshot has come so far; may be empty.
  std::function<void(SnapshotStep)> at_snapshot_step;
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

// What a snapshot took.
struct SnapshotFigures {
  double pause_seconds = 0;  // requests but flushes were held so long, all in all
  double flush_seconds = 0;  // flushes did
};

// How a served disk does.
struct OverlayFacts {
  uint64_t size_bytes = 0;             // of the merged image
  uint32_t block_size_bytes = 0;       // the same
  bool has_failed = false;             // every request fails until a restart
  std::optional<SessionSize> session;  // nothing while no disk is loaded, or no client came yet
  std::optional<HostSpace> upper;      // nothing until there is an upper
};

// prepare() locks and checks without writing a byte that stays.  What it knows of
// OverlayOptions::server_access it uses to find at once what would stop a client.  The first
// open() decides whether anything will ever be written.  open(), close(), checkpoint(),
// snapshot(), flush() and facts() are thread-safe.
class Overlay {
 public:
  static Result<std::unique_ptr<Overlay>> prepare(OverlayOptions options);

  // Of the merged image, from prepare() on.
  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_relaxed); }
  // After the fork, where OverlayOptions::remote said that threads may not be started before:
  // starts those of remote levels, but for those of OverlayOptions::base.
  void start_remote() const {
    if (options_.base == nullptr) {
      chain_->start_remote(options_.cache, options_.log);
    }
  }
  // How long a request may have to wait for another server; zero where nothing is there.
  std::chrono::milliseconds longest_wait() const;
  // All that is below the upper.
  const Chain& chain() const { return *chain_; }
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

  // While clients may be there: the upper is frozen, as it is at one moment of the call, under
  // this name in its own directory, and a void upper over it takes its place.  Waits for a
  // checkpoint.  docs/stacks.md has the order.  kInvalid and kUnsupported say that nothing has
  // happened; others, what is the case.
  Result<SnapshotFigures> snapshot(const std::string& name);

  // For who is no client: what was answered to clients before the call survives a power loss
  // after it.  Waits for a checkpoint that is being made.
  Result<void> flush();
  // At any time.  Does not wait for a checkpoint, nor for an upper that is being made.
  OverlayFacts facts() const;
  // The same of all levels, the lowest first and the upper last; its name is empty if there is
  // none.  While levels change, what they were before.
  std::vector<LevelFacts> level_facts() const;

  // The requests of clients.  Only after a successful open(), until the last client has gone.
  GatedDisk& requests() { return requests_; }
  // The same disk at this moment, for who knows that no snapshot is taken meanwhile.
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

  // The next upper of a snapshot, and the disk over it.
  struct NextUpper {
    ClosedUpper upper;
    std::unique_ptr<Disk> disk;
  };
  // The last upper, until what was written to it is durable and it is frozen.
  struct FreezingUpper {
    ClosedUpper upper;
    std::unique_ptr<Disk> disk;
    Disk* next = nullptr;            // the one that is served
    PosixFile* next_file = nullptr;  // its upper
    PosixFile* level = nullptr;      // the chain's handle of this one
  };
  class RunningSnapshot;
  // What is told of levels.
  struct SeenLevels {
    std::vector<LevelFacts> below;       // the upper
    std::optional<uint64_t> own_blocks;  // of the upper's layer
  };

  explicit Overlay(OverlayOptions options)
      : options_(std::move(options)), requests_([this] { return finish_freezing(); }) {}

  Result<void> open_levels();
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
  // The disk of an upper over all levels.
  Result<std::unique_ptr<Disk>> load_disk(const ClosedUpper& upper) const;
  Result<std::optional<Geometry>> larger_than(Disk& disk, const PosixFile& file) const;
  // What open() does, with mutex_ held.
  Result<void> make_open(Access access);
  // Before a session begins: what a server has left that died in a snapshot.
  Result<void> end_left_snapshot(LoadedUpper& loaded);
  // Whether the upper can be frozen under this path.
  Result<void> check_can_freeze(const LoadedUpper& loaded, const std::string& path,
                                const std::string& frozen_path) const;
  // After the commit of a snapshot; nothing where all is done.  Before it no bit of the next
  // upper may become durable, and no flush be answered.
  Result<void> finish_freezing();
  Result<void> freeze_last_upper(FreezingUpper& last);
  Result<void> let_go_of(FreezingUpper& last);
  // A named upper's, if it is loaded and may have a session.
  LoadedUpper* loaded_with_session();
  // Whether the disk can be attached to.  If not, it was made so: LoadedUpper -> ClosedUpper.
  Result<bool> make_ready(LoadedUpper& loaded, Access access);
  // LoadedUpper -> ClosedUpper.  Waits for a flush() that uses the disk.
  std::unique_ptr<Disk> take_disk();
  // Any state but LoadedUpper -> LoadedUpper.
  void become(LoadedUpper loaded);
  // Below `disk`, or below an upper that is not there yet.  Cost follows what the levels own.
  SeenLevels levels_under(const Disk* disk) const;
  OverlayFacts seen_facts() const UNIONFS_REQUIRES_SHARED(seen_mutex_);
  // ClosedUpper -> LoadedUpper, after a checkpoint of this session that ended so.
  CheckpointResult load_after_checkpoint(uint64_t session_number,
                                         Result<CheckpointFigures> figures);

  OverlayOptions options_;
  std::string boot_id_;
  std::atomic<uint64_t> size_bytes_{0};
  uint32_t block_size_bytes_ = 0;
  std::unique_ptr<Chain> chain_;
  std::atomic<bool> is_cancelled_{false};
  GatedDisk requests_;

  Mutex mutex_;  // guards state_ and chain_ while clients come
  std::variant<NoUpper, ForeignUpper, ClosedUpper, LoadedUpper> state_;
  // What who is no client looks at, because mutex_ may be held for minutes.  Who has mutex_ may
  // lock this one, and not the other way round.
  mutable SharedMutex seen_mutex_;
  Disk* seen_disk_ UNIONFS_GUARDED_BY(seen_mutex_) = nullptr;  // of a LoadedUpper
  // Of an upper, which stays but for snapshots.
  const PosixFile* seen_file_ UNIONFS_GUARDED_BY(seen_mutex_) = nullptr;
  SeenLevels seen_levels_ UNIONFS_GUARDED_BY(seen_mutex_);
  // Who has mutex_, or has passed the gate of flushes, may lock this one.
  Mutex freezing_mutex_;
  std::unique_ptr<FreezingUpper> freezing_ UNIONFS_GUARDED_BY(freezing_mutex_);
  std::atomic<bool> is_freezing_{false};  // whether there is one, for a look without a lock
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_OVERLAY_H
