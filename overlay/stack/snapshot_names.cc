// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/snapshot_names.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "fsparse/printable.h"
#include "overlay/upper/parent.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {

uint64_t hidden_digits_of(const upper_format::Digest& freeze_id) {
  uint64_t digits = 0;
  for (size_t i = 0; i < sizeof(digits); ++i) {
    digits = digits << 8 | freeze_id[i];
  }
  return digits;
}

Result<void> check_names(const PosixFile& upper, const std::string& path,
                         const std::string& frozen_path) {
  if (!upper.is_named(path)) {
    return system_failure(EBUSY, fmt::format("{}: was replaced meanwhile", path));
  }
  if (upper.name_count() > 1) {
    return invalid("{}: has another name, which would go on leading to what is frozen", path);
  }
  struct stat status = {};
  if (::lstat(frozen_path.c_str(), &status) == 0) {
    return invalid("{}: exists already", frozen_path);
  }
  if (errno != ENOENT) {
    return system_failure(errno, fmt::format("{}: cannot look for it", frozen_path));
  }
  return check_can_replace(path);
}

Result<void> add_name(const PosixFile& file, const std::string& path) {
  if (link_open_file(file.descriptor(), path) != 0) {
    const int error = errno;
    return error == EEXIST
               ? Result<void>(invalid("{}: exists already", path))
               : Result<void>(system_failure(error, fmt::format("{}: cannot get the name {}",
                                                                file.name(), quoted_name(path))));
  }
  return sync_directory_of(path);
}

Result<void> remove_name(const PosixFile& file, const std::string& path) {
  struct stat status = {};
  const bool is_link = ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
  if (!is_link || !file.is_named(path)) {
    return {};
  }
  if (::unlink(path.c_str()) != 0) {
    return system_failure(errno, fmt::format("{}: cannot remove the name", path));
  }
  return sync_directory_of(path);
}

Result<std::string> find_next_upper(const std::string& path,
                                    const upper_format::Digest& freeze_id) {
  UNIONFS_ASSIGN(const auto found, find_hidden(path, kNextUpper, hidden_digits_of(freeze_id)));
  if (!found) {
    return invalid(
        "{}: was becoming a level of another upper when a server died; serve that one once to a "
        "client that may write",
        path);
  }
  return *found;
}

Result<void> take_back_name(const PosixFile& upper, const std::string& path,
                            const std::string& next_upper) {
  UNIONFS_ASSIGN(const auto next, PosixFile::open(next_upper, FileLock::kNone));
  UNIONFS_ASSIGN(const UpperState state, read_upper_state(*next));
  const std::string name = parent_name(state.area);
  const std::string frozen_path = directory_of(path) + "/" + name;
  return name.empty() || frozen_path == path ? Result<void>() : remove_name(upper, frozen_path);
}

}  // namespace unionfs
