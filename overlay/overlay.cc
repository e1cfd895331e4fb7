// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/overlay.h"

#include "overlay/changes/import.h"
#include "overlay/upper/layer_create.h"

namespace unionfs {

Result<std::unique_ptr<Overlay>> Overlay::prepare(OverlayOptions options) {
  std::unique_ptr<Overlay> overlay(new Overlay(std::move(options)));
  UNIONFS_ASSIGN(overlay->boot_id_, read_boot_id());
  UNIONFS_TRY(overlay->open_lower());
  UNIONFS_TRY(overlay->open_upper());
  return overlay;
}

Result<void> Overlay::open_lower() {
  UNIONFS_ASSIGN(lower_file_, PosixFile::open(options_.lower_path, FileLock::kShared));
  UNIONFS_ASSIGN(lower_, LowerImage::open(*lower_file_));
  return {};
}

// An existing upper is opened and checked; of one that is not there yet only
// the size is settled.
Result<void> Overlay::open_upper() {
  if (!options_.upper_path.empty()) {
    auto opened = PosixFile::open(options_.upper_path, FileLock::kExclusive);
    if (opened) {
      upper_file_ = std::move(*opened);
      UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(*upper_file_));
      return is_foreign ? open_foreign() : load_disk();
    }
    if (opened.error().error_number == EBUSY) {
      const auto again = PosixFile::open(options_.upper_path, FileLock::kShared);
      if (again && (*again)->is_same_file(*lower_file_)) {
        return invalid("{}: is given as the lower and as the upper", options_.upper_path);
      }
    }
    if (opened.error().error_number != ENOENT) {
      return Failure(std::move(opened).error());
    }
    UNIONFS_TRY(check_directory_of(options_.upper_path));
  }
  const uint64_t wanted =
      options_.size_bytes.value_or(Geometry::default_size_bytes(lower_->layout()));
  // Also proves that the lower can be grown, before a client comes.
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(lower_->volume(), wanted));
  size_bytes_ = geometry.size_bytes();
  return {};
}

// Made elsewhere: imported at the first client; until then only looked at.
Result<void> Overlay::open_foreign() {
  foreign_file_ = std::move(upper_file_);
  UNIONFS_ASSIGN(foreign_, ForeignTree::open(*foreign_file_));
  uint64_t wanted = 0;
  if (options_.size_bytes) {
    wanted = *options_.size_bytes;
  } else {
    UNIONFS_ASSIGN(wanted, foreign_merged_size(lower_->volume(), *foreign_));
  }
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(lower_->volume(), wanted));
  size_bytes_ = geometry.size_bytes();
  return {};
}

// After a failure there is no disk, and the next client tries anew.
Result<void> Overlay::load_disk() {
  disk_.reset();
  larger_.reset();
  UNIONFS_ASSIGN(auto disk,
                 Disk::load(*lower_, *upper_file_, boot_id_, options_.log, *options_.clock));
  UNIONFS_ASSIGN(larger_, larger_than(*disk));
  size_bytes_ = larger_ ? larger_->size_bytes() : disk->geometry().size_bytes();
  disk_ = std::move(disk);
  return {};
}

// An upper keeps its size; a larger one asked for makes it grow at the first
// client that may write, if it has no session.
Result<std::optional<Geometry>> Overlay::larger_than(Disk& disk) {
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
                   upper_file_->name(), geometry.size_bytes(), wanted.size_bytes());
  }
  UNIONFS_TRY(disk.attach(Access::kReadOnly));  // only to look at its session
  if (disk.session_block_count() > 0) {
    return invalid(
        "{}: has a session, so it cannot be grown from {} to {} bytes now; turn the "
        "session into a layer first: unionfs-img checkpoint",
        upper_file_->name(), geometry.size_bytes(), wanted.size_bytes());
  }
  UNIONFS_ASSIGN(Geometry larger, Geometry::grow(lower_->volume(), wanted.size_bytes()));
  return std::optional<Geometry>(std::move(larger));
}

// What only readers ask for goes with them.
Result<void> Overlay::create_upper_file(Access access) {
  is_upper_for_readers_ = access == Access::kReadOnly;
  if (is_upper_for_readers_ && foreign_ && !options_.temporary_directory.empty()) {
    // All of the upper's files, too much for memory.
    UNIONFS_ASSIGN(upper_file_, PosixFile::create_temporary(options_.temporary_directory));
  } else if (is_upper_for_readers_) {
    UNIONFS_ASSIGN(upper_file_, PosixFile::create_in_memory());
  } else if (options_.upper_path.empty()) {
    UNIONFS_ASSIGN(upper_file_, PosixFile::create_temporary(options_.temporary_directory));
  } else if (foreign_) {
    UNIONFS_TRY(foreign_file_->make_writable());  // it is to be replaced
    UNIONFS_ASSIGN(const std::string path, real_path_of(options_.upper_path));
    UNIONFS_ASSIGN(upper_file_, PosixFile::create_for(path));
  } else {
    UNIONFS_ASSIGN(upper_file_, PosixFile::create_for(options_.upper_path));
  }
  return {};
}

Result<void> Overlay::create_upper(Access access) {
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(lower_->volume(), size_bytes_));
  UNIONFS_TRY(create_upper_file(access));
  if (!foreign_) {
    UNIONFS_TRY(create_layer(*upper_file_, lower_->volume(), geometry));
    return upper_file_->publish();
  }
  UNIONFS_TRY(import_upper(*upper_file_, {*lower_, *foreign_, geometry, boot_id_, options_.log,
                                          options_.progress, *options_.clock}));
  if (access == Access::kReadWrite) {
    Result<void> published = upper_file_->publish_over(*foreign_file_);
    if (upper_file_->is_published()) {
      foreign_.reset();
      foreign_file_.reset();
    }
    return published;
  }
  return {};
}

Result<void> Overlay::open(Access access) {
  const std::lock_guard<std::mutex> guard(open_mutex_);
  if (upper_file_ == nullptr) {
    if (Result<void> created = create_upper(access); !created) {
      if (upper_file_ != nullptr && !upper_file_->is_published()) {
        upper_file_.reset();  // the next client tries anew
      }
      return created;
    }
  }
  if (disk_ == nullptr) {
    UNIONFS_TRY(upper_file_->sync_name());
    UNIONFS_TRY(load_disk());
  }
  if (access == Access::kReadWrite) {
    if (is_upper_for_readers_) {
      return invalid(
          "the first client only read, so there is no upper to write to; restart the "
          "server");
    }
    UNIONFS_TRY(upper_file_->make_writable());
    if (disk_->has_journal()) {
      UNIONFS_TRY(disk_->finish_checkpoint());
      UNIONFS_TRY(load_disk());
    }
    if (larger_) {
      const Geometry larger = *larger_;
      const Result<void> grown = disk_->grow(larger);
      UNIONFS_TRY(load_disk());  // also after a failure: it may be committed
      UNIONFS_TRY(grown);
    }
  } else if (larger_) {
    return invalid("{}: cannot be grown by a server that only reads", upper_file_->name());
  }
  return disk_->attach(access);
}

Result<std::optional<CheckpointFigures>> Overlay::checkpoint(AskedBy asked_by) {
  const std::lock_guard<std::mutex> guard(open_mutex_);
  const bool is_kept = !options_.upper_path.empty();
  // A client may have come between the decision and the lock: the disk is its.
  if (is_cancelled_.load() || disk_ == nullptr || !is_kept || !disk_->has_session()) {
    return std::optional<CheckpointFigures>();
  }
  // Whatever happens from here on, the disk is loaded anew.
  std::unique_ptr<Disk> disk = std::move(disk_);
  if (Result<void> closed = disk->close(); !closed) {
    if (disk->has_failed()) {
      disk_ = std::move(disk);  // every request fails until a restart
    }
    return Failure(std::move(closed).error());
  }
  Result<CheckpointFigures> figures = disk->checkpoint(asked_by, is_cancelled_);
  disk.reset();
  UNIONFS_TRY(load_disk());
  if (!figures) {
    return Failure(std::move(figures).error());
  }
  return std::optional<CheckpointFigures>(*figures);
}

Result<void> Overlay::close() {
  return disk_ != nullptr ? disk_->close() : Result<void>();
}

}  // namespace unionfs
