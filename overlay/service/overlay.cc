// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/overlay.h"

#include <exception>

#include "overlay/changes/import.h"
#include "overlay/host/cancellation.h"
#include "overlay/upper/layer_create.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {

std::string describe(const CheckpointFailure& failure) {
  const std::string& message = failure.error.message;
  switch (failure.commitment) {
    case Commitment::kNone:
      return fmt::format("no checkpoint: {}; nothing is lost", message);
    case Commitment::kCommitted:
      return fmt::format("checkpoint: {}; but it is committed, and its layer is served", message);
    case Commitment::kUnknown:
      break;
  }
  return fmt::format("checkpoint: {}; the next opening shows whether it is committed", message);
}

// ---- from state to state -------------------------------------------------------

Overlay::Keeping Overlay::keeping_for(Access access) const {
  // What only readers ask for goes with them.
  return access == Access::kReadOnly   ? Keeping::kForReaders
         : options_.upper_path.empty() ? Keeping::kTemporary
                                       : Keeping::kNamed;
}

Result<void> Overlay::make_upper(Access access) {
  const Keeping keeping = keeping_for(access);
  UNIONFS_ASSIGN(auto file, create_file(keeping));
  Result<void> filled = fill_and_publish(*file, keeping);
  if (!filled && !file->is_published()) {
    return filled;
  }
  auto* foreign = std::get_if<ForeignUpper>(&state_);
  ClosedUpper made{std::move(file), keeping};
  if (foreign != nullptr && keeping == Keeping::kForReaders) {
    made.foreign = std::move(foreign->file);
  }
  state_ = std::move(made);
  return filled;
}

Result<std::unique_ptr<PosixFile>> Overlay::create_file(Keeping keeping) const {
  const auto* foreign = std::get_if<ForeignUpper>(&state_);
  switch (keeping) {
    case Keeping::kForReaders:
      if (foreign != nullptr && !options_.temporary_directory.empty()) {
        break;  // it takes all of the upper's files, too much for memory
      }
      return PosixFile::create_in_memory();
    case Keeping::kTemporary:
      break;
    case Keeping::kNamed: {
      if (foreign == nullptr) {
        return PosixFile::create_for(options_.upper_path);
      }
      UNIONFS_TRY(foreign->file->make_writable());  // it is to be replaced
      UNIONFS_ASSIGN(const std::string path, real_path_of(options_.upper_path));
      return PosixFile::create_for(path);
    }
  }
  return PosixFile::create_temporary(options_.temporary_directory);
}

void Overlay::tell_of_new(Keeping keeping) const {
  if (keeping == Keeping::kNamed) {
    options_.log(fmt::format("{}: created, for a disk of {} bytes over {}", options_.upper_path,
                             size_bytes(), chain_->top_name()));
  } else if (keeping == Keeping::kTemporary) {
    options_.log(
        fmt::format("no upper is given, so changes to the disk of {} bytes over {} go to a "
                    "temporary file in {} and are gone at the end",
                    size_bytes(), chain_->top_name(), options_.temporary_directory));
  }
}

// The upper gets data of the lower, and of a foreign upper all of it.
Result<void> Overlay::set_mode_of(PosixFile& file) const {
  uint32_t mode = file.mode();
  if (const auto* foreign = std::get_if<ForeignUpper>(&state_); foreign != nullptr) {
    file.take_owner_of(*foreign->file);
    mode = foreign->file->mode() & file.mode_for_data_of(*foreign->file);
  }
  return file.set_mode(options_.mode.value_or(mode & chain_->mode_for_data_in(file)));
}

Result<void> Overlay::fill_and_publish(PosixFile& file, Keeping keeping) {
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(chain_->volume(), size_bytes()));
  const auto* foreign = std::get_if<ForeignUpper>(&state_);
  if (keeping == Keeping::kNamed) {
    UNIONFS_TRY(set_mode_of(file));
  }
  if (foreign == nullptr) {
    UNIONFS_TRY(create_layer(file, chain_->volume(), geometry, chain_->top().identity()));
    UNIONFS_TRY(file.publish());
    tell_of_new(keeping);
    return {};
  }
  UNIONFS_TRY(import_upper(file, {chain_->top(), foreign->tree, geometry, boot_id_, options_.log,
                                  options_.progress, *options_.clock}));
  if (keeping != Keeping::kNamed) {
    options_.log(fmt::format("{}: imported to be read; it stays as it is", foreign->tree.name()));
    return {};
  }
  UNIONFS_ASSIGN(const KeepWay way, find_keep_way(file.name(), kBeforeImport));
  UNIONFS_ASSIGN(const std::string kept, file.publish_over(*foreign->file, way, kBeforeImport));
  options_.log(fmt::format("{}: imported: {} inodes laid over {}; what was there is kept as {}",
                           file.name(), foreign->tree.used_inode_count(), chain_->top_name(),
                           kept));
  return {};
}

Result<void> Overlay::load() {
  auto& upper = std::get<ClosedUpper>(state_);
  UNIONFS_TRY(upper.file->sync_name());
  if (options_.wrap_upper && upper.wrapper == nullptr) {
    upper.wrapper = options_.wrap_upper(*upper.file);
  }
  UNIONFS_ASSIGN(auto disk, load_disk(upper));
  if (disk->is_void() && chain_->is_unproven()) {
    disk->mark_unproven();
  }
  UNIONFS_ASSIGN(auto larger, larger_than(*disk, *upper.file));
  size_bytes_ = larger ? larger->size_bytes() : disk->geometry().size_bytes();
  become({std::move(upper), std::move(disk), std::move(larger), false});
  return {};
}

Result<std::unique_ptr<Disk>> Overlay::load_disk(const ClosedUpper& upper) const {
  return Disk::load(chain_->top(), upper.bytes(), boot_id_, options_.log, *options_.clock,
                    chain_->frozen_view(), options_.flusher);
}

// An upper keeps its size; a larger one asked for makes it grow at the first
// client that may write, if it has no session.
Result<std::optional<Geometry>> Overlay::larger_than(Disk& disk, const PosixFile& file) const {
  if (!options_.size_bytes) {
    return std::optional<Geometry>();
  }
  const Geometry& geometry = disk.geometry();
  UNIONFS_ASSIGN(
      const Layout wanted,
      grown_layout(geometry.lower(), *options_.size_bytes / geometry.merged().block_size_bytes));
  if (wanted.block_count == geometry.merged().block_count) {
    return std::optional<Geometry>();
  }
  if (wanted.block_count < geometry.merged().block_count) {
    return invalid("{}: has a merged size of {} bytes; it cannot be shrunk to {} bytes",
                   file.name(), geometry.size_bytes(), wanted.size_bytes());
  }
  if (disk.is_void()) {
    return invalid(
        "{}: stands on a frozen session, so it cannot be grown from {} to {} bytes now; make a "
        "checkpoint first: unionfs-img checkpoint",
        file.name(), geometry.size_bytes(), wanted.size_bytes());
  }
  UNIONFS_TRY(disk.attach(Access::kReadOnly));  // only to look at its session
  if (disk.session_block_count() > 0) {
    return invalid(
        "{}: has a session, so it cannot be grown from {} to {} bytes now; turn the "
        "session into a layer first: unionfs-img checkpoint",
        file.name(), geometry.size_bytes(), wanted.size_bytes());
  }
  UNIONFS_ASSIGN(Geometry larger, Geometry::grow(chain_->volume(), wanted.size_bytes()));
  return std::optional<Geometry>(std::move(larger));
}

Result<bool> Overlay::make_ready(LoadedUpper& loaded, Access access) {
  PosixFile& file = *loaded.upper.file;
  if (access == Access::kReadOnly) {
    if (loaded.larger) {
      return invalid("{}: cannot be grown by a server that only reads", file.name());
    }
    return true;
  }
  if (loaded.upper.keeping == Keeping::kForReaders) {
    return invalid(
        "the first client only read, so there is no upper to write to; restart the "
        "server");
  }
  UNIONFS_TRY(file.make_writable());
  UNIONFS_TRY(end_left_snapshot(loaded));
  if (loaded.disk->has_journal()) {
    if (loaded.is_in_use) {
      return system_failure(
          EBUSY, fmt::format("{}: a checkpoint has to be brought home first, and clients read it; "
                             "connect again when they have gone",
                             file.name()));
    }
    UNIONFS_TRY(loaded.disk->finish_checkpoint());
    take_disk();
    return false;
  }
  if (loaded.larger) {
    const Geometry larger = std::move(*loaded.larger);
    // Also after a failure the upper is looked at anew: it may be committed.
    UNIONFS_TRY(take_disk()->grow(larger));
    return false;
  }
  return true;
}

void Overlay::become(LoadedUpper loaded) {
  SeenLevels levels = levels_under(loaded.disk.get());
  const ChangeLock seen(seen_mutex_);
  seen_disk_ = loaded.disk.get();
  seen_file_ = loaded.upper.file.get();
  seen_levels_ = std::move(levels);
  requests_.serve(loaded.disk.get());
  state_ = std::move(loaded);
}

std::unique_ptr<Disk> Overlay::take_disk() {
  {
    const ChangeLock seen(seen_mutex_);
    seen_disk_ = nullptr;
    requests_.serve(nullptr);
  }
  auto& loaded = std::get<LoadedUpper>(state_);
  std::unique_ptr<Disk> disk = std::move(loaded.disk);
  state_ = ClosedUpper(std::move(loaded.upper));
  return disk;
}

// ---- for others than clients -------------------------------------------------------

Result<void> Overlay::flush() {
  {
    const Gate::Pass pass(requests_.flush_gate());
    const LookLock seen(seen_mutex_);
    if (seen_disk_ != nullptr) {
      UNIONFS_TRY(finish_freezing());
      return seen_disk_->flush();
    }
  }
  // A checkpoint that is being made has not flushed everything from its first moment on.
  const MutexLock lock(mutex_);
  auto* loaded = std::get_if<LoadedUpper>(&state_);
  return loaded != nullptr ? loaded->disk->flush() : Result<void>();
}

std::chrono::milliseconds Overlay::longest_wait() const {
  constexpr std::chrono::milliseconds kNone(0);
  if (!chain_->has_remote()) {
    return kNone;
  }
  // Who waits for ever is not waited for as long.
  return options_.remote.timeout == kNone ? RemoteOptions().timeout : options_.remote.timeout;
}

// ---- for clients, and between them -----------------------------------------------

Result<void> Overlay::open(Access access) {
  if (access == Access::kReadWrite && options_.server_access == Access::kReadOnly) {
    return invalid("a server that only reads has no client that may write");
  }
  const MutexLock lock(mutex_);
  return make_open(access);
}

Result<void> Overlay::make_open(Access access) {
  while (true) {
    if (auto* loaded = std::get_if<LoadedUpper>(&state_)) {
      UNIONFS_ASSIGN(const bool is_ready, make_ready(*loaded, access));
      if (is_ready) {
        loaded->has_readers |= access == Access::kReadOnly;
        loaded->is_in_use |= access == Access::kReadOnly;
        UNIONFS_TRY(loaded->disk->attach(access));
        loaded->disk->watch_lower();
        return {};
      }
    } else if (std::holds_alternative<ClosedUpper>(state_)) {
      UNIONFS_TRY(load());
    } else {
      UNIONFS_TRY(make_upper(access));
    }
  }
}

// Where the disk has to grow it has no session, and in a journal it is a layer already.
Overlay::LoadedUpper* Overlay::loaded_with_session() {
  auto* loaded = std::get_if<LoadedUpper>(&state_);
  const bool may_have_one = loaded != nullptr && loaded->upper.keeping == Keeping::kNamed &&
                            !loaded->larger && !loaded->disk->has_journal();
  return may_have_one ? loaded : nullptr;
}

Result<bool> Overlay::has_left_session() {
  const MutexLock lock(mutex_);
  const LoadedUpper* loaded = loaded_with_session();
  if (loaded == nullptr) {
    return false;
  }
  UNIONFS_TRY(loaded->disk->attach(Access::kReadOnly));
  return loaded->disk->session_block_count() > 0;
}

Result<void> Overlay::take_left_session() {
  const MutexLock lock(mutex_);
  LoadedUpper* loaded = loaded_with_session();
  if (loaded == nullptr || loaded->has_readers) {
    return {};
  }
  UNIONFS_TRY(loaded->upper.file->make_writable());
  UNIONFS_TRY(end_left_snapshot(*loaded));
  return loaded->disk->attach(Access::kReadWrite);
}

CheckpointResult Overlay::checkpoint(AskedBy asked_by) {
  const MutexLock lock(mutex_);
  const auto* loaded = std::get_if<LoadedUpper>(&state_);
  // A client may have come between the decision and the lock: the disk is its.
  const bool has_one =
      loaded != nullptr &&
      (loaded->disk->has_session() || (asked_by == AskedBy::kPerson && loaded->disk->is_void()));
  if (is_cancelled_.load() || !has_one || loaded->upper.keeping != Keeping::kNamed) {
    return std::optional<CheckpointFigures>();
  }
  if (Result<void> finished = finish_freezing(); !finished) {
    return tl::unexpected(CheckpointFailure{std::move(finished).error(), Commitment::kNone});
  }
  // Whatever happens from here on, the disk is loaded anew.
  std::unique_ptr<Disk> disk = take_disk();
  if (Result<void> closed = disk->close(); !closed) {
    if (disk->has_failed()) {  // every request fails until a restart
      become({std::move(std::get<ClosedUpper>(state_)), std::move(disk), {}, false});
    }
    return tl::unexpected(CheckpointFailure{std::move(closed).error(), Commitment::kNone});
  }
  const uint64_t session_number = disk->state_area().session_number;
  Result<CheckpointFigures> figures = CheckpointFigures{};
  try {
    const CancellableWaits waits(is_cancelled_);
    figures = disk->checkpoint(asked_by, is_cancelled_);
  } catch (const std::exception& exception) {  // no memory for the layer
    figures = invalid("{}", exception.what());
  }
  disk.reset();
  return load_after_checkpoint(session_number, std::move(figures));
}

// Each checkpoint begins the session of the next number, so that tells what counts now.
CheckpointResult Overlay::load_after_checkpoint(uint64_t session_number,
                                                Result<CheckpointFigures> figures) {
  const Result<UpperState> state = read_upper_state(std::get<ClosedUpper>(state_).bytes());
  const bool is_session_there = state && state->area.session_number == session_number;
  if (state && !state->area.is_void()) {
    chain_->remove_void_levels();
  }
  Result<void> loaded = load();
  if (figures && loaded) {
    return std::optional<CheckpointFigures>(*figures);
  }
  if (figures) {
    return tl::unexpected(CheckpointFailure{std::move(loaded).error(), Commitment::kCommitted});
  }
  CheckpointFailure failure{std::move(figures).error(), Commitment::kNone};
  if (!loaded) {
    failure.error.message += fmt::format("; then: {}", loaded.error().message);
    failure.commitment = is_session_there ? Commitment::kNone : Commitment::kUnknown;
  } else if (disk().state_area().session_number != session_number) {
    failure.commitment = Commitment::kCommitted;
  }
  return tl::unexpected(std::move(failure));
}

Result<void> Overlay::close() {
  const MutexLock lock(mutex_);
  auto* loaded = std::get_if<LoadedUpper>(&state_);
  if (loaded == nullptr) {
    return {};
  }
  UNIONFS_TRY(finish_freezing());
  loaded->is_in_use = false;
  return loaded->disk->close();
}

}  // namespace unionfs
