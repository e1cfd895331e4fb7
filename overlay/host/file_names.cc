// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/file_names.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "overlay/host/scope_exit.h"

namespace unionfs {
namespace {

std::string base_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string kept_name(const std::string& path, const KeptName& kept, int number) {
  return number == 1 ? path + kept.suffix : fmt::format("{}{}.{}", path, kept.suffix, number);
}

Error no_name_left(const std::string& path, const KeptName& kept) {
  const std::string taken =
      kept.most == 1 ? fmt::format("{} is taken; remove it", kept_name(path, kept, 1))
                     : fmt::format("{} and the names up to {} are taken; remove some",
                                   kept_name(path, kept, 1), kept_name(path, kept, kept.most));
  return {ErrorKind::kSystem, EEXIST, fmt::format("{}: cannot be kept, because {}", path, taken)};
}

bool is_same(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// Whether the file is mounted there by itself: no other can take its name.
bool is_mount_point(const std::string& path) {
  struct statx file;
  struct statx directory;
  return ::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &file) == 0 &&
         ::statx(AT_FDCWD, directory_of(path).c_str(), 0, STATX_MNT_ID, &directory) == 0 &&
         (file.stx_mask & directory.stx_mask & STATX_MNT_ID) != 0 &&
         file.stx_mnt_id != directory.stx_mnt_id;
}

// Gives a name that is free to the file that `take` moves there: take(name) is 0, or -1
// with EEXIST if the name is not free.
template <typename Take>
Result<std::string> take_kept_name(const std::string& path, const KeptName& kept, Take take) {
  for (int number = 1; number <= kept.most; ++number) {
    std::string name = kept_name(path, kept, number);
    if (take(name) == 0) {
      return name;
    }
    if (errno != EEXIST) {
      return system_failure(errno, fmt::format("{}: cannot keep it as {}", path, name));
    }
  }
  return Failure(no_name_left(path, kept));
}

Result<void> take_name(std::string& hidden, const std::string& path) {
  if (::rename(hidden.c_str(), path.c_str()) == -1) {
    return system_failure(errno, fmt::format("{}: cannot put the new upper in place", path));
  }
  hidden.clear();
  return {};
}

Result<std::string> link_and_replace(std::string& hidden, const std::string& path, int old,
                                     const KeptName& kept_as) {
  struct stat wanted;
  if (::fstat(old, &wanted) == -1) {
    return system_failure(errno, fmt::format("{}: cannot stat", path));
  }
  UNIONFS_ASSIGN(std::string kept, take_kept_name(path, kept_as, [&](const std::string& name) {
                   struct stat found;
                   if (link_open_file(old, name) == 0) {
                     return 0;
                   }
                   // A try that died after this step has left the name.
                   const int error = errno;
                   const bool is_ours = error == EEXIST && ::lstat(name.c_str(), &found) == 0 &&
                                        is_same(found, wanted);
                   errno = error;
                   return is_ours ? 0 : -1;
                 }));
  UNIONFS_TRY(sync_directory_of(path));
  UNIONFS_TRY(take_name(hidden, path));
  return kept;
}

Result<std::string> exchange_and_keep(std::string& hidden, const std::string& path,
                                      const KeptName& kept) {
  if (::renameat2(AT_FDCWD, hidden.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == -1) {
    return system_failure(errno, fmt::format("{}: cannot put the new upper in place", path));
  }
  const std::string old = std::move(hidden);
  hidden.clear();
  UNIONFS_TRY(sync_directory_of(path));
  return take_kept_name(
      path, kept, [&](const std::string& name) { return rename_without_replacing(old, name); });
}

Result<void> check_kept_name_is_left(const std::string& path, const KeptName& kept) {
  struct stat mine;
  if (::lstat(path.c_str(), &mine) == -1) {
    return system_failure(errno, fmt::format("{}: cannot stat", path));
  }
  for (int number = 1; number <= kept.most; ++number) {
    struct stat found;
    const std::string name = kept_name(path, kept, number);
    if (::lstat(name.c_str(), &found) == 0) {
      if (is_same(found, mine)) {
        return {};
      }
    } else if (errno == ENOENT) {
      return {};
    } else {
      return system_failure(errno, fmt::format("{}: cannot keep it as {}", path, name));
    }
  }
  return Failure(no_name_left(path, kept));
}

Result<void> make_empty(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot create", path));
  }
  ::close(descriptor);
  return {};
}

constexpr size_t kHiddenDigits = 16;

// How a hidden name begins; digits follow.
std::string hidden_prefix(const std::string& path, std::string_view purpose) {
  constexpr size_t kMaxNameBytes = 255;
  const std::string end = purpose.empty() ? "." : fmt::format(".{}-", purpose);
  const size_t most = kMaxNameBytes - kHiddenDigits - 1 - end.size();
  return fmt::format(".{}{}", base_of(path).substr(0, most), end);
}

// Whoever is at work on a hidden file has locked it.
void remove_unless_locked(const std::string& name) {
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor == -1) {
    return;
  }
  struct stat status;
  if (::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
      ::flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
    ::unlink(name.c_str());
  }
  ::close(descriptor);
}

bool can_exchange(const std::string& first, const std::string& second) {
  return make_empty(second) &&
         ::renameat2(AT_FDCWD, first.c_str(), AT_FDCWD, second.c_str(), RENAME_EXCHANGE) == 0 &&
         ::unlink(second.c_str()) == 0 &&
         ::renameat2(AT_FDCWD, first.c_str(), AT_FDCWD, second.c_str(), RENAME_NOREPLACE) == 0;
}

}  // namespace

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void> sync_directory_of(const std::string& path) {
  const std::string directory = directory_of(path);
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot open the directory", directory));
  }
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (result == -1) {
    return system_failure(error, fmt::format("{}: cannot sync the directory", directory));
  }
  return {};
}

Result<void> check_can_replace(const std::string& path) {
  if (is_mount_point(path)) {
    return system_failure(EBUSY, fmt::format("{}: is mounted there by itself, so no new upper "
                                             "can take its name",
                                             path));
  }
  return {};
}

Result<void> for_each_name_in(const std::string& directory,
                              const std::function<void(const dirent&)>& visitor) {
  const std::unique_ptr<DIR, int (*)(DIR*)> names(::opendir(directory.c_str()), ::closedir);
  if (!names) {
    return system_failure(errno, fmt::format("{}: cannot open the directory", directory));
  }
  while (const dirent* entry = ::readdir(names.get())) {
    visitor(*entry);
  }
  return {};
}

Result<std::string> choose_hidden_path(const std::string& path, std::string_view purpose) {
  uint64_t suffix = 0;
  if (::getrandom(&suffix, sizeof(suffix), 0) == -1) {
    return system_failure(errno, fmt::format("{}: cannot choose a temporary name", path));
  }
  return hidden_path_of(path, purpose, suffix);
}

std::string hidden_path_of(const std::string& path, std::string_view purpose, uint64_t digits) {
  return fmt::format("{}/{}{:016x}", directory_of(path), hidden_prefix(path, purpose), digits);
}

Result<std::optional<std::string>> find_hidden(const std::string& path, std::string_view purpose,
                                               uint64_t digits) {
  const std::string end = fmt::format(".{}-{:016x}", purpose, digits);
  const std::string directory = directory_of(path);
  std::optional<std::string> found;
  UNIONFS_TRY(for_each_name_in(directory, [&](const dirent& entry) {
    const std::string_view name = entry.d_name;
    if (name.starts_with('.') && name.ends_with(end)) {
      found = fmt::format("{}/{}", directory, name);
    }
  }));
  return found;
}

Result<void> remove_leftovers(const std::string& path, std::string_view purpose) {
  const std::string prefix = hidden_prefix(path, purpose);
  const size_t end = hidden_prefix("", purpose).size() - 1;
  const std::string base = prefix.substr(1, prefix.size() - 1 - end);  // a long name is cut
  return remove_leftovers_in(directory_of(path), purpose,
                             [&base](std::string_view name) { return name == base; });
}

Result<void> remove_leftovers_in(const std::string& directory, std::string_view purpose,
                                 const std::function<bool(std::string_view)>& is_meant) {
  const std::string end = hidden_prefix("", purpose).substr(1);
  return for_each_name_in(directory, [&](const dirent& entry) {
    const std::string_view name = entry.d_name;
    if (name.size() <= 1 + end.size() + kHiddenDigits || !name.starts_with('.') ||
        name.find_first_not_of("0123456789abcdef", name.size() - kHiddenDigits) !=
            std::string_view::npos) {
      return;
    }
    const std::string_view prefix = name.substr(1, name.size() - 1 - kHiddenDigits);
    if (prefix.ends_with(end) && is_meant(prefix.substr(0, prefix.size() - end.size()))) {
      remove_unless_locked(fmt::format("{}/{}", directory, name));
    }
  });
}

int link_open_file(int descriptor, const std::string& path) {
  const std::string self = fmt::format("/proc/self/fd/{}", descriptor);
  return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW);
}

int rename_without_replacing(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) {
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS) {
    return -1;
  }
  // Older file systems: a hard link refuses an existing name as well.
  if (::link(from.c_str(), to.c_str()) == -1) {
    return -1;
  }
  return ::unlink(from.c_str());
}

Result<KeepWay> find_keep_way(const std::string& path, const KeptName& kept) {
  UNIONFS_TRY(check_kept_name_is_left(path, kept));
  UNIONFS_TRY(check_can_replace(path));
  UNIONFS_ASSIGN(const std::string first, choose_hidden_path(path));
  UNIONFS_ASSIGN(const std::string second, choose_hidden_path(path));
  UNIONFS_TRY(make_empty(first));
  const ScopeExit remove([&] {
    ::unlink(first.c_str());
    ::unlink(second.c_str());
  });
  if (::link(first.c_str(), second.c_str()) == 0) {
    return KeepWay::kLink;
  }
  const int error = errno;
  if (can_exchange(first, second)) {
    return KeepWay::kExchange;
  }
  return system_failure(error, fmt::format("{}: cannot be kept, because its file system can "
                                           "neither link files nor exchange their names",
                                           path));
}

Result<std::string> replace_and_keep(std::string& hidden, const std::string& path, int old,
                                     KeepWay way, const KeptName& kept_as) {
  UNIONFS_ASSIGN(std::string kept, way == KeepWay::kLink
                                       ? link_and_replace(hidden, path, old, kept_as)
                                       : exchange_and_keep(hidden, path, kept_as));
  UNIONFS_TRY(sync_directory_of(path));
  return kept;
}

Result<void> replace_without_keeping(std::string& hidden, const std::string& path) {
  UNIONFS_TRY(take_name(hidden, path));
  return sync_directory_of(path);
}

}  // namespace unionfs
