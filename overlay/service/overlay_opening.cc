// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Overlay that opens what is there, and finds what would stop a client.
#include "overlay/service/overlay.h"
#include "overlay/stack/snapshot_names.h"
#include "overlay/upper/layer_create.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {

Result<std::unique_ptr<Overlay>> Overlay::prepare(OverlayOptions options) {
  std::unique_ptr<Overlay> overlay(new Overlay(std::move(options)));
  UNIONFS_ASSIGN(overlay->boot_id_, read_boot_id());
  UNIONFS_TRY(overlay->open_levels());
  UNIONFS_TRY(overlay->open_upper());
  const bool is_there = std::holds_alternative<LoadedUpper>(overlay->state_);
  UNIONFS_TRY(is_there ? overlay->check_can_open() : overlay->check_can_make());
  if (overlay->options_.base == nullptr) {
    overlay->chain_->suspend_remote();
  }
  return overlay;
}

Result<void> Overlay::open_levels() {
  if (options_.base != nullptr) {
    UNIONFS_ASSIGN(chain_, Chain::open_above(*options_.base, options_.upper_path, FileLock::kShared,
                                             options_.log));
  } else {
    UNIONFS_ASSIGN(chain_, Chain::open_below(options_.level_paths, options_.upper_path,
                                             FileLock::kShared, options_.log, options_.remote));
  }
  UNIONFS_TRY(options_.base == nullptr ? chain_->check_cache(options_.cache) : Result<void>());
  block_size_bytes_ = chain_->top().layout().block_size_bytes;
  SeenLevels levels = levels_under(nullptr);
  const ChangeLock seen(seen_mutex_);
  seen_levels_ = std::move(levels);
  return {};
}

// An existing upper is opened and checked; of one that is not there yet only
// the size is settled.
Result<void> Overlay::open_upper() {
  if (options_.upper_path.empty()) {
    return expect_upper();
  }
  UNIONFS_ASSIGN(auto file, find_upper());
  if (file != nullptr && options_.expected_upper == ExpectedUpper::kNone) {
    return system_failure(EEXIST, fmt::format("{}: is there already", options_.upper_path));
  }
  if (file == nullptr && options_.expected_upper == ExpectedUpper::kThere) {
    return system_failure(ENOENT, fmt::format("{}: is not there", options_.upper_path));
  }
  if (file == nullptr) {
    UNIONFS_TRY(check_can_appear(options_.upper_path));
    return expect_upper();
  }
  UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(*file));
  if (is_foreign) {
    return open_foreign(std::move(file));
  }
  state_ = ClosedUpper{std::move(file)};
  return load();
}

namespace {

// What is no upper is told by others.
Result<void> check_not_sealed(const ReadableFile& upper) {
  const Result<UpperState> state = read_upper_state(upper);
  return state && state->area.is_sealed() ? check_may_write(upper.name(), state->area)
                                          : Result<void>();
}

}  // namespace

// nullptr if there is none.
Result<std::unique_ptr<PosixFile>> Overlay::find_upper() const {
  // Whoever only reads leaves the upper to others that do.
  const bool only_reads = options_.server_access == Access::kReadOnly;
  auto opened = PosixFile::open(
      options_.upper_path, only_reads ? FileLock::kSharedUpper : FileLock::kExclusive,
      options_.expected_upper == ExpectedUpper::kAny ? FileLinks::kFollow : FileLinks::kRefuse);
  if (!opened && opened.error().error_number == ENOENT) {
    return std::unique_ptr<PosixFile>();
  }
  bool is_level = opened && chain_->has(**opened);
  if (!opened && opened.error().error_number == EBUSY) {
    const auto again = PosixFile::open(options_.upper_path, FileLock::kNone);
    is_level = again && chain_->has(**again);
    if (again && !only_reads && !is_level) {
      UNIONFS_TRY(check_not_sealed(**again));  // others may read it, which keeps writers out
    }
  }
  if (is_level) {
    return invalid("{}: is given as {} and as the upper", options_.upper_path,
                   chain_->layers().empty() ? "the lower" : "a level");
  }
  return opened;
}

// Also proves that the lower can be grown, before a client comes.
Result<void> Overlay::expect_upper() {
  const uint64_t wanted = options_.size_bytes.value_or(chain_->top().default_merged_size());
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(chain_->volume(), wanted));
  if (chain_->frozen_view() != nullptr &&
      geometry.size_bytes() != chain_->frozen_view()->size_bytes()) {
    return invalid(
        "{}: is frozen with a size of {} bytes, and an upper over it has the same, not {}",
        chain_->top_name(), chain_->frozen_view()->size_bytes(), geometry.size_bytes());
  }
  size_bytes_ = geometry.size_bytes();
  state_ = NoUpper{};
  return {};
}

// Whoever named a base image as the upper by mistake must find it as it was.
Result<void> Overlay::check_is_meant(const ForeignTree& tree) const {
  if (const std::string marks = find_overlayfs_marks(tree); !marks.empty()) {
    options_.log(
        fmt::format("{}: {}: marks of overlayfs mean nothing here, so what they hide "
                    "shows; unionfs-img import knows them",
                    tree.name(), marks));
  }
  UNIONFS_ASSIGN(const bool is_empty, tree.is_empty());
  if (is_empty || tree.has_whiteout_feature()) {
    return {};
  }
  const auto uuid_of = [](const Volume& volume) { return volume.superblock().raw().s_uuid; };
  const bool is_copy = uuid_of(tree.volume()) == uuid_of(chain_->volume());
  return invalid(
      "{}: is an ext2 image with files and without the whiteout feature, so it is no upper, and it "
      "stays as it is; {} {}, make an upper of it: unionfs-img import {} {}{} NEW",
      tree.name(),
      is_copy ? "if it is a changed copy of" : "if its files are to be laid over those of",
      chain_->top_name(), chain_->as_options(), is_copy ? "" : "upper:", shell_word(tree.name()));
}

// Made elsewhere: imported at the first client; until then only looked at.
Result<void> Overlay::open_foreign(std::unique_ptr<PosixFile> file) {
  UNIONFS_ASSIGN(auto tree, ForeignTree::open(*file));
  UNIONFS_TRY(check_is_meant(tree));
  uint64_t wanted = 0;
  if (options_.size_bytes) {
    wanted = *options_.size_bytes;
  } else {
    UNIONFS_ASSIGN(wanted, foreign_merged_size(chain_->volume(), tree));
  }
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(chain_->volume(), wanted));
  size_bytes_ = geometry.size_bytes();
  state_ = ForeignUpper{std::move(file), std::move(tree)};
  return {};
}

// Makes the file, gives it its length and takes the space of a new upper, and lets it go.
Result<void> Overlay::check_can_make() const {
  const bool is_foreign = std::holds_alternative<ForeignUpper>(state_);
  const bool is_in_memory = options_.server_access == Access::kReadOnly && !is_foreign;
  if (!options_.server_access || is_in_memory) {
    return {};
  }
  if (is_foreign && options_.server_access == Access::kReadWrite) {
    UNIONFS_ASSIGN(const std::string path, real_path_of(options_.upper_path));
    UNIONFS_TRY(find_keep_way(path, kBeforeImport));
  }
  UNIONFS_ASSIGN(const auto probe, create_file(keeping_for(*options_.server_access)));
  UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(chain_->volume(), size_bytes()));
  UNIONFS_ASSIGN(const LayerNeeds needs, layer_needs(chain_->volume(), geometry));
  UNIONFS_TRY(probe->resize(needs.length_bytes));
  Result<void> allocated = probe->allocate(0, needs.space_bytes);
  const bool is_telling = allocated || allocated.error().error_number != EOPNOTSUPP;
  return is_telling ? allocated : Result<void>();
}

Result<void> Overlay::check_can_open() const {
  const LoadedUpper& loaded = *std::get_if<LoadedUpper>(&state_);
  if (options_.server_access == Access::kReadWrite) {
    UNIONFS_TRY(loaded.upper.file->check_can_write());
    const StateArea& area = loaded.disk->state_area();
    if (area.is_freezing()) {
      UNIONFS_ASSIGN(const std::string path, real_path_of(options_.upper_path));
      UNIONFS_TRY(find_next_upper(path, area.freeze_id));
      return {};
    }
    return loaded.disk->check_can_write();
  }
  if (options_.server_access == Access::kReadOnly && loaded.larger) {
    return invalid("{}: cannot be grown by a server that only reads", loaded.upper.file->name());
  }
  return {};
}

}  // namespace unionfs
