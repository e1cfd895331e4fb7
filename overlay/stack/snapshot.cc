// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/snapshot.h"

#include <unistd.h>

#include <cerrno>

#include "fsparse/printable.h"
#include "overlay/changes/foreign_tree.h"
#include "overlay/host/file_names.h"
#include "overlay/stack/freeze.h"
#include "overlay/stack/snapshot_names.h"
#include "overlay/upper/layer_create.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {
namespace {

constexpr uint32_t kWriteBits = 0222;
constexpr uint32_t kOwnerWrites = 0200;

class Snapshot {
 public:
  Snapshot(const LevelPaths& levels, const LogSink& log) : levels_(levels), log_(log) {}

  Result<void> take(const std::string& upper_path, const std::string& name) {
    UNIONFS_TRY(check_level_name(name));
    UNIONFS_ASSIGN(path_, real_path_of(upper_path));
    frozen_path_ = directory_of(path_) + "/" + name;
    UNIONFS_TRY(freeze());
    UNIONFS_TRY(remove_leftovers(path_, kNextUpper));  // of a server that died before it froze it
    Result<void> made = make_upper();
    if (!made) {
      made.error().message +=
          fmt::format("; {} is frozen as {}, and the same command goes on from here", path_, name);
    }
    return made;
  }

 private:
  Result<void> freeze() {
    UNIONFS_ASSIGN(const auto chain, Chain::open_below(levels_, path_, FileLock::kShared, log_));
    UNIONFS_ASSIGN(const auto upper, PosixFile::open(path_, FileLock::kExclusive));
    UNIONFS_TRY(check_is_upper(*upper));
    UNIONFS_TRY(chain->finish_freezing(log_));
    paths_ = chain->paths();
    mode_ = upper->mode() | kOwnerWrites;
    UNIONFS_ASSIGN(UpperState state, read_upper_state(*upper));
    if (state.area.is_frozen() && upper->is_named(frozen_path_)) {
      return {};  // by a run that came to no end
    }
    if (state.area.is_freezing()) {
      UNIONFS_TRY(take_back(*chain, *upper));
      UNIONFS_ASSIGN(state, read_upper_state(*upper));
    }
    UNIONFS_TRY(check_may_write(path_, state.area));
    UNIONFS_TRY(upper->make_writable());
    UNIONFS_TRY(give_second_name(*upper));
    UNIONFS_TRY(freeze_upper(chain->top(), chain->frozen_view(), *upper, log_));
    return upper->set_mode(upper->mode() & ~kWriteBits);
  }

  // As the next start of a server would.
  Result<void> take_back(const Chain& chain, PosixFile& upper) const {
    UNIONFS_TRY(upper.make_writable());
    UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
    UNIONFS_ASSIGN(const auto disk, Disk::load(chain.top(), upper, std::move(boot_id), log_,
                                               steady_clock(), chain.frozen_view()));
    return take_back_snapshot(path_, upper, *disk, log_);
  }

  Result<void> check_is_upper(const PosixFile& upper) const {
    UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(upper));
    if (is_foreign) {
      return invalid("{}: was made elsewhere and is not imported yet; nothing can stand on it",
                     path_);
    }
    return {};
  }

  // The same name is there where an earlier run was cut off behind this step.
  Result<void> give_second_name(const PosixFile& upper) const {
    const bool is_there = upper.is_named(frozen_path_);
    if (upper.name_count() > (is_there ? 2 : 1)) {
      return invalid("{}: has another name, which would go on leading to what is frozen", path_);
    }
    if (!is_there && ::link(path_.c_str(), frozen_path_.c_str()) != 0) {
      const int error = errno;
      return error == EEXIST ? Result<void>(invalid("{}: exists already", frozen_path_))
                             : Result<void>(system_failure(
                                   error, fmt::format("{}: cannot get the name {}", path_,
                                                      quoted_name(frozen_path_))));
    }
    return sync_directory_of(frozen_path_);
  }

  Result<void> make_upper() const {
    LevelPaths paths = paths_;
    paths.push_back(frozen_path_);
    UNIONFS_ASSIGN(const auto chain, Chain::open(paths, FileLock::kShared, log_));
    UNIONFS_ASSIGN(const auto upper, PosixFile::create_for(path_));
    UNIONFS_ASSIGN(const Geometry geometry,
                   Geometry::grow(chain->volume(), chain->frozen_view()->size_bytes()));
    UNIONFS_TRY(create_layer(*upper, chain->volume(), geometry, chain->top().identity()));
    UNIONFS_TRY(upper->take_looks_of(*chain->top_file()));
    UNIONFS_TRY(upper->set_mode(mode_));
    return upper->publish_instead_of(*chain->top_file());
  }

  const LevelPaths& levels_;
  const LogSink& log_;
  std::string path_;         // of the upper's file itself
  std::string frozen_path_;  // what it is called from then on
  LevelPaths paths_;         // of all levels below
  uint32_t mode_ = 0;        // of the upper
};

}  // namespace

Result<void> check_level_name(const std::string& name) {
  const bool is_file_name = !name.empty() && name.find('/') == std::string::npos && name[0] != '.';
  if (!is_file_name || name.size() > sizeof(upper_format::Parent::name)) {
    return invalid(
        "{}: must be a file name without a directory, which begins with no dot and has at most {} "
        "bytes",
        quoted_name(name), sizeof(upper_format::Parent::name));
  }
  return {};
}

Result<void> take_back_snapshot(const std::string& path, const PosixFile& upper, Disk& disk,
                                const LogSink& log) {
  UNIONFS_ASSIGN(const std::string next, find_next_upper(path, disk.state_area().freeze_id));
  if (Result<void> removed = take_back_name(upper, path, next); !removed) {
    log(removed.error().message);  // a second name does no harm
  }
  UNIONFS_TRY(disk.cancel_freezing());
  if (::unlink(next.c_str()) != 0) {
    log(fmt::format("{}: cannot remove it", next));
  }
  log(fmt::format("{}: a snapshot that was cut off before it counted is taken back", upper.name()));
  return {};
}

Result<void> take_snapshot(const LevelPaths& levels, const std::string& upper_path,
                           const std::string& name, const LogSink& log) {
  return Snapshot(levels, log).take(upper_path, name);
}

}  // namespace unionfs
