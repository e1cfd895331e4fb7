// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Overlay that freezes an upper while clients use it.  docs/stacks.md has the order of
// the steps, and what a start finds behind each of them.
#include "overlay/service/overlay.h"
#include "overlay/stack/freeze.h"
#include "overlay/stack/snapshot.h"
#include "overlay/stack/snapshot_names.h"
#include "overlay/upper/layer_create.h"

namespace unionfs {
namespace {

constexpr uint32_t kAnyoneWrites = 0222;

double seconds_since(const Clock& clock, Clock::TimePoint begin) {
  return std::chrono::duration<double>(clock.now() - begin).count();
}

}  // namespace

// One snapshot, up to its commit.  Until then everything is taken back when it ends.
class Overlay::RunningSnapshot {
 public:
  RunningSnapshot(Overlay& overlay, LoadedUpper& loaded, std::string path, std::string frozen_path)
      : overlay_(overlay),
        loaded_(loaded),
        options_(overlay.options_),
        path_(std::move(path)),
        frozen_path_(std::move(frozen_path)) {}
  ~RunningSnapshot() {
    if (!is_committed_) {
      take_back();
    }
  }
  RunningSnapshot(const RunningSnapshot&) = delete;
  RunningSnapshot& operator=(const RunningSnapshot&) = delete;

  // What takes long, while requests go on.
  Result<void> prepare() {
    UNIONFS_TRY(loaded_.disk->flush());
    UNIONFS_TRY(remove_leftovers(path_, kNextUpper));
    UNIONFS_ASSIGN(id_, draw_freeze_id());
    UNIONFS_TRY(add_level());
    UNIONFS_TRY(make_next());
    tell(SnapshotStep::kNextUpper);
    is_begun_ = true;
    UNIONFS_TRY(loaded_.disk->begin_freezing(id_));
    tell(SnapshotStep::kFreezing);
    is_named_ = true;
    UNIONFS_TRY(add_name(*loaded_.upper.file, frozen_path_));
    tell(SnapshotStep::kNamed);
    return {};
  }

  // With the gate of flushes closed: the pause.
  Result<void> commit(SnapshotFigures& figures) {
    loaded_.disk->flush_by_itself(false);
    is_quiet_ = true;
    const Disk& last = *loaded_.disk;
    const PosixFile& last_file = *loaded_.upper.file;
    Gate::Closed closed;
    const Clock::TimePoint begin = close_gate(closed);
    const ChangeLock seen(overlay_.seen_mutex_, ChangeLock::Begun::kYes);
    UNIONFS_TRY(exchange());
    closed.open();
    figures.pause_seconds = closed_seconds_ + seconds_since(*options_.clock, begin);
    note_levels(last, last_file);
    return {};
  }

 private:
  void tell(SnapshotStep step) const {
    if (options_.at_snapshot_step) {
      options_.at_snapshot_step(step);
    }
  }

  // Returns when the last closing began; closed_seconds_ has the ones before it.  A read of a
  // remote level may keep the gate open for minutes, and who only looks is not to wait; nor are
  // requests to wait for who counts what was written, so that the gate opens again for that.  Who
  // looks all the time is waited for once.
  Clock::TimePoint close_gate(Gate::Closed& closed) UNIONFS_ACQUIRES(overlay_.seen_mutex_) {
    constexpr int kMostTries = 8;
    for (int tries = 1; tries < kMostTries; ++tries) {
      const Clock::TimePoint begin = options_.clock->now();
      closed.close(overlay_.requests_.request_gate());
      if (overlay_.seen_mutex_.try_begin_change()) {
        return begin;
      }
      closed.open();
      closed_seconds_ += seconds_since(*options_.clock, begin);
      const ChangeLock nobody_looks(overlay_.seen_mutex_);
    }
    const Clock::TimePoint begin = options_.clock->now();
    closed.close(overlay_.requests_.request_gate());
    overlay_.seen_mutex_.begin_change();
    return begin;
  }

  // The upper becomes a level of the chain, while its session is still written.
  Result<void> add_level() {
    UNIONFS_ASSIGN(auto file, PosixFile::open(path_, FileLock::kNone));
    if (!file->is_same_file(*loaded_.upper.file)) {
      return system_failure(EBUSY, fmt::format("{}: was replaced meanwhile", path_));
    }
    file->set_name(frozen_path_);
    UNIONFS_TRY(overlay_.chain_->add_running(std::move(file), id_, loaded_.disk->session_bitmap(),
                                             options_.log));
    has_level_ = true;
    return {};
  }

  Result<void> make_next() {
    const Chain& chain = *overlay_.chain_;
    UNIONFS_ASSIGN(next_.upper.file, PosixFile::create_for(path_, kNextUpper));
    PosixFile& file = *next_.upper.file;
    UNIONFS_ASSIGN(const Geometry geometry,
                   Geometry::grow(chain.volume(), chain.frozen_view()->size_bytes()));
    UNIONFS_TRY(create_layer(file, chain.volume(), geometry, chain.top().identity()));
    UNIONFS_TRY(file.take_looks_of(*loaded_.upper.file));
    if (options_.wrap_upper) {
      next_.upper.wrapper = options_.wrap_upper(file);
    }
    UNIONFS_ASSIGN(next_.disk, overlay_.load_disk(next_.upper));
    UNIONFS_TRY(next_.disk->attach_over(*loaded_.disk));
    levels_ = overlay_.levels_under(next_.disk.get());
    return file.publish_hidden(hidden_digits_of(id_));
  }

  // No request is there.
  Result<void> exchange() UNIONFS_REQUIRES(overlay_.seen_mutex_) {
    tell(SnapshotStep::kClosed);
    const PosixFile& file = *loaded_.upper.file;
    if (!file.is_named(path_) || !file.is_named(frozen_path_)) {
      return system_failure(EBUSY, fmt::format("{}: was renamed meanwhile", path_));
    }
    if (loaded_.disk->has_failed()) {
      return system_failure(EIO,
                            fmt::format("{}: a sync failed, or the lower is another one", path_));
    }
    auto last = std::make_unique<FreezingUpper>();
    UNIONFS_TRY(next_.upper.file->take_name());
    is_committed_ = true;
    tell(SnapshotStep::kRenamed);
    last->upper = std::move(loaded_.upper);
    last->disk = std::move(loaded_.disk);
    loaded_.upper = std::move(next_.upper);
    loaded_.disk = std::move(next_.disk);
    last->next = loaded_.disk.get();
    last->next_file = loaded_.upper.file.get();
    last->level = &overlay_.chain_->top_handle();
    overlay_.seen_disk_ = last->next;
    overlay_.seen_file_ = last->next_file;
    overlay_.requests_.serve(last->next);
    const MutexLock freezing(overlay_.freezing_mutex_);
    overlay_.freezing_ = std::move(last);
    overlay_.is_freezing_.store(true, std::memory_order_release);
    return {};
  }

  // With the session as clients have left it.
  void note_levels(const Disk& last, const PosixFile& last_file)
      UNIONFS_REQUIRES(overlay_.seen_mutex_) {
    LevelFacts& level = levels_.below.back();
    if (const auto session = last.session_size()) {
      level.written_blocks = session->blocks;
    }
    if (const Result<HostSpace> space = last_file.space()) {
      level.disk_bytes = space->used_bytes;
    }
    overlay_.seen_levels_ = std::move(levels_);
  }

  // In the order in which a start would do it.
  void take_back() {
    Result<void> done;
    if (is_quiet_) {
      loaded_.disk->flush_by_itself(true);
    }
    if (is_named_) {
      done = remove_name(*loaded_.upper.file, frozen_path_);
    }
    if (is_begun_) {
      Result<void> cancelled = loaded_.disk->cancel_freezing();
      if (!cancelled) {
        next_.upper.file->keep_hidden_name();  // a start looks for it
        done = std::move(cancelled);
      }
    }
    if (!done) {
      options_.log(done.error().message);
    }
    next_.disk.reset();
    next_.upper = {};
    if (has_level_) {
      overlay_.chain_->remove_top();
    }
  }

  Overlay& overlay_;
  LoadedUpper& loaded_;
  const OverlayOptions& options_;
  const std::string path_;         // of the upper's file itself
  const std::string frozen_path_;  // what it is called from then on
  upper_format::Digest id_ = {};
  NextUpper next_;
  SeenLevels levels_;  // below it
  double closed_seconds_ = 0;
  // What has to be taken back.
  bool has_level_ = false;
  bool is_begun_ = false;
  bool is_named_ = false;
  bool is_quiet_ = false;
  bool is_committed_ = false;
};

Result<void> Overlay::check_can_freeze(const LoadedUpper& loaded, const std::string& path,
                                       const std::string& frozen_path) const {
  if (loaded.upper.keeping != Keeping::kNamed) {
    return invalid("{}: lives as long as the server, so nothing can stand on it", path);
  }
  if (chain_->is_full()) {
    return unsupported(
        "{}: there are {} layers below it, and no more can be stacked; have a "
        "checkpoint made, or squash some",
        path, chain_->layers().size());
  }
  return check_names(*loaded.upper.file, path, frozen_path);
}

Result<SnapshotFigures> Overlay::snapshot(const std::string& name) {
  UNIONFS_TRY(check_level_name(name));
  if (options_.server_access == Access::kReadOnly) {
    return invalid("a server that only reads takes no snapshot");
  }
  if (options_.upper_path.empty()) {
    return invalid("there is no upper but a temporary one, and nothing can stand on that");
  }
  const MutexLock lock(mutex_);
  if (std::holds_alternative<ForeignUpper>(state_)) {
    return invalid("{}: was made elsewhere and is not imported yet; nothing can stand on it",
                   options_.upper_path);
  }
  UNIONFS_TRY(make_open(Access::kReadWrite));
  UNIONFS_TRY(finish_freezing());
  auto& loaded = std::get<LoadedUpper>(state_);
  UNIONFS_ASSIGN(const std::string path, real_path_of(options_.upper_path));
  const std::string frozen_path = directory_of(path) + "/" + name;
  UNIONFS_TRY(check_can_freeze(loaded, path, frozen_path));
  SnapshotFigures figures;
  if (loaded.disk->is_void() && !loaded.disk->has_session()) {
    if (chain_->top_file() == nullptr) {
      return invalid("{}: is what the disk shows, and at another server, so it gets no name here",
                     chain_->top_name());
    }
    UNIONFS_TRY(add_name(*chain_->top_file(), frozen_path));  // which shows the same
    return figures;
  }
  RunningSnapshot running(*this, loaded, path, frozen_path);
  UNIONFS_TRY(running.prepare());
  const Clock::TimePoint begin = options_.clock->now();
  const Gate::Closed held(requests_.flush_gate());
  UNIONFS_TRY(running.commit(figures));
  if (options_.at_snapshot_step) {
    options_.at_snapshot_step(SnapshotStep::kServed);
  }
  if (Result<void> finished = finish_freezing(); !finished) {
    finished.error().message +=
        fmt::format("; {} is not frozen yet, and the disk goes on above it", name);
    return Failure(std::move(finished).error());
  }
  figures.flush_seconds = seconds_since(*options_.clock, begin);
  return figures;
}

// ---- after the commit ------------------------------------------------------------

Result<void> Overlay::finish_freezing() {
  if (!is_freezing_.load(std::memory_order_acquire)) {
    return {};
  }
  const MutexLock lock(freezing_mutex_);
  if (freezing_ == nullptr) {
    return {};
  }
  Result<void> frozen = freeze_last_upper(*freezing_);
  if (!frozen) {
    if (freezing_->disk->has_failed()) {
      freezing_->next->fail();
    }
    if (frozen.error().kind != ErrorKind::kSystem) {
      frozen.error().kind = ErrorKind::kSystem;  // something has happened
      frozen.error().error_number = EIO;
    }
    return frozen;
  }
  freezing_->next->flush_by_itself(true);
  freezing_.reset();
  is_freezing_.store(false, std::memory_order_release);
  return {};
}

Result<void> Overlay::freeze_last_upper(FreezingUpper& last) {
  if (Result<void> named = last.next_file->sync_name(); !named) {
    last.disk->fail();
    return named;
  }
  UNIONFS_TRY(last.disk->finish_freezing());
  if (options_.at_snapshot_step) {
    options_.at_snapshot_step(SnapshotStep::kFrozen);
  }
  return let_go_of(last);
}

// The chain's handle stays, with a lock of its own.
Result<void> Overlay::let_go_of(FreezingUpper& last) {
  const std::shared_ptr<SessionBitmap> written = last.disk->session_bitmap();
  UNIONFS_ASSIGN(auto copy, written->copy_of_mapping());
  chain_->flatten_top();
  // What nobody needs is given back when the gate is open again.
  std::unique_ptr<MappedRegion> mapping;
  std::unique_ptr<const SessionRuns> useless;
  {
    const Gate::Closed closed(requests_.request_gate());
    mapping = written->leave_file(std::move(copy));
    useless = chain_->forget_runs_below();
  }
  PosixFile& file = *last.upper.file;
  UNIONFS_TRY(file.set_mode(file.mode() & ~kAnyoneWrites));
  UNIONFS_TRY(file.change_lock(FileLock::kSharedUpper));
  UNIONFS_TRY(last.level->change_lock(FileLock::kSharedUpper));
  const LowerWatch* watch = last.disk->lower_watch();
  if (watch != nullptr && !watch->has_found_all_same()) {
    last.next->watch_lower();
  }
  return {};
}

// ---- at the next start -------------------------------------------------------------

Result<void> Overlay::end_left_snapshot(LoadedUpper& loaded) {
  UNIONFS_TRY(chain_->finish_freezing(options_.log));
  if (!loaded.disk->state_area().is_freezing()) {
    return {};
  }
  UNIONFS_ASSIGN(const std::string path, real_path_of(options_.upper_path));
  return take_back_snapshot(path, *loaded.upper.file, *loaded.disk, options_.log);
}

}  // namespace unionfs
