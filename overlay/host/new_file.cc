// SPDX-License-Identifier: BSD-3-Clause
//
// The part of PosixFile that makes new files and gives them their names.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "overlay/host/posix_file.h"

namespace unionfs {

Result<void> check_can_appear(const std::string& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
    return system_failure(EEXIST,
                          fmt::format("{}: is a symbolic link that leads to no file", path));
  }
  const std::string directory = directory_of(path);
  if (::stat(directory.c_str(), &status) == -1) {
    return system_failure(errno, fmt::format("{}: cannot create it in {}", path, directory));
  }
  if (!S_ISDIR(status.st_mode)) {
    return system_failure(ENOTDIR, fmt::format("{}: cannot create it in {}", path, directory));
  }
  return {};
}

Result<std::string> real_path_of(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) {
    return system_failure(errno, fmt::format("{}: cannot find", path));
  }
  std::string real(resolved);
  ::free(resolved);
  return real;
}

Result<std::unique_ptr<PosixFile>> PosixFile::create_for(const std::string& path,
                                                         std::string_view purpose) {
  constexpr mode_t kMode = 0644;
  const std::string directory = directory_of(path);
  const int nameless = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kMode);
  if (nameless != -1) {
    std::unique_ptr<PosixFile> file(new PosixFile(path, nameless));
    file->purpose_ = purpose;
    file->is_nameless_ = true;
    file->is_writable_ = true;
    UNIONFS_TRY(file->take_lock(FileLock::kExclusive));
    return file;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR) {
    return system_failure(errno, fmt::format("{}: cannot create", path));
  }
  // A file system without nameless files: a hidden name, which a crash leaves.
  UNIONFS_ASSIGN(const std::string hidden, choose_hidden_path(path, purpose));
  const int descriptor = ::open(hidden.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot create", path));
  }
  std::unique_ptr<PosixFile> file(new PosixFile(path, descriptor));
  file->purpose_ = purpose;
  file->hidden_path_ = hidden;
  file->is_writable_ = true;
  UNIONFS_TRY(file->take_lock(FileLock::kExclusive));
  return file;
}

Result<std::unique_ptr<PosixFile>> PosixFile::create_temporary(const std::string& directory) {
  std::string path = directory + "/unionfs-upper.XXXXXX";
  const int descriptor = ::mkostemp(path.data(), O_CLOEXEC);
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot create a temporary upper", directory));
  }
  ::unlink(path.c_str());
  std::unique_ptr<PosixFile> file(new PosixFile("temporary upper", descriptor));
  file->is_writable_ = true;
  return file;
}

Result<std::unique_ptr<PosixFile>> PosixFile::create_in_memory() {
  const int descriptor = ::memfd_create("unionfs-upper", MFD_CLOEXEC);
  if (descriptor == -1) {
    return system_failure(errno, "cannot create an upper in memory");
  }
  std::unique_ptr<PosixFile> file(new PosixFile("upper in memory", descriptor));
  file->is_writable_ = true;
  return file;
}

uint64_t PosixFile::name_count() const {
  struct stat status;
  return ::fstat(descriptor_, &status) == 0 ? status.st_nlink : 0;
}

namespace {

// Attributes that the new file has already, as a security module gives them, are left alone.
Result<void> copy_host_attribute(int from, int to, const char* attribute, const std::string& name) {
  const ssize_t size = ::fgetxattr(from, attribute, nullptr, 0);
  std::vector<char> wanted(size > 0 ? static_cast<size_t>(size) : 0);
  const ssize_t got = ::fgetxattr(from, attribute, wanted.data(), wanted.size());
  if (size == -1 || got == -1) {
    return system_failure(
        errno, fmt::format("{}: cannot read its attribute {}", name, quoted_name(attribute)));
  }
  wanted.resize(static_cast<size_t>(got));
  std::vector<char> present(wanted.size() + 1);
  const ssize_t there = ::fgetxattr(to, attribute, present.data(), present.size());
  present.resize(there > 0 ? static_cast<size_t>(there) : 0);
  if (there != -1 && present == wanted) {
    return {};
  }
  if (::fsetxattr(to, attribute, wanted.data(), wanted.size(), 0) == -1) {
    return system_failure(
        errno, fmt::format("{}: cannot keep its attribute {}", name, quoted_name(attribute)));
  }
  return {};
}

}  // namespace

Result<void> PosixFile::take_looks_of(const PosixFile& other) {
  take_owner_of(other);
  UNIONFS_TRY(set_mode(other.mode()));
  const ssize_t size = ::flistxattr(other.descriptor_, nullptr, 0);
  std::vector<char> names(size > 0 ? static_cast<size_t>(size) : 0);
  const ssize_t got = ::flistxattr(other.descriptor_, names.data(), names.size());
  if (size == -1 || got == -1) {
    // A file system without attributes has none to keep.
    return errno == ENOTSUP
               ? Result<void>()
               : system_failure(errno, fmt::format("{}: cannot list its attributes", other.name_));
  }
  for (ssize_t at = 0; at < got;) {
    const char* attribute = names.data() + at;
    UNIONFS_TRY(copy_host_attribute(other.descriptor_, descriptor_, attribute, name_));
    at += static_cast<ssize_t>(std::strlen(attribute)) + 1;
  }
  return {};
}

uint32_t PosixFile::mode() const {
  struct stat status;
  return ::fstat(descriptor_, &status) == 0 ? status.st_mode & 0777 : 0;
}

Result<void> PosixFile::set_mode(uint32_t mode) {
  if (mode != this->mode() && ::fchmod(descriptor_, mode) == -1) {
    return system_failure(errno, fmt::format("{}: cannot set its mode to {:04o}", name_, mode));
  }
  return {};
}

void PosixFile::take_owner_of(const PosixFile& other) {
  struct stat status;
  if (::fstat(other.descriptor_, &status) == 0) {
    (void)!::fchown(descriptor_, status.st_uid, status.st_gid);
  }
}

uint32_t PosixFile::mode_for_data_of(const PosixFile& source) const {
  constexpr uint32_t kOwner = S_IRUSR | S_IWUSR;
  struct stat mine;
  struct stat theirs;
  if (::fstat(descriptor_, &mine) == -1 || ::fstat(source.descriptor_, &theirs) == -1) {
    return kOwner;
  }
  const uint32_t others = theirs.st_mode & (S_IROTH | S_IWOTH);
  // Of another group nothing is known but that it belongs to the others.
  const uint32_t group =
      mine.st_gid == theirs.st_gid ? theirs.st_mode & (S_IRGRP | S_IWGRP) : others << 3;
  return kOwner | group | others;
}

Result<void> PosixFile::publish() {
  if (hidden_path_.empty() && !is_nameless_) {
    return {};
  }
  if (::fsync(descriptor_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot sync", name_));
  }
  if (is_nameless_) {
    if (link_open_file(descriptor_, name_) == -1) {
      return system_failure(errno, fmt::format("{}: cannot create", name_));
    }
    is_nameless_ = false;
  } else if (rename_without_replacing(hidden_path_, name_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot create", name_));
  }
  return has_got_name();
}

Result<void> PosixFile::publish_as(const std::string& path) {
  name_ = path;
  return publish();
}

// Makes contents durable, and sees to a hidden name: a nameless file cannot take a name that is
// in use.
Result<void> PosixFile::prepare_replacing(const PosixFile& old) {
  if (!old.is_named(name_)) {
    return system_failure(EBUSY, fmt::format("{}: was replaced meanwhile", name_));
  }
  if (::fsync(descriptor_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot sync", name_));
  }
  if (is_nameless_) {
    UNIONFS_ASSIGN(const std::string hidden, choose_hidden_path(name_, purpose_));
    if (link_open_file(descriptor_, hidden) == -1) {
      return system_failure(errno, fmt::format("{}: cannot create the new upper", name_));
    }
    is_nameless_ = false;
    hidden_path_ = hidden;
  }
  return {};
}

Result<std::string> PosixFile::publish_over(const PosixFile& old, KeepWay way,
                                            const KeptName& kept_as) {
  UNIONFS_TRY(prepare_replacing(old));
  Result<std::string> kept = replace_and_keep(hidden_path_, name_, old.descriptor_, way, kept_as);
  if (hidden_path_.empty()) {
    is_published_ = true;
    needs_name_sync_ = !kept;
  }
  return kept;
}

Result<void> PosixFile::publish_instead_of(const PosixFile& old) {
  UNIONFS_TRY(prepare_replacing(old));
  Result<void> replaced = replace_without_keeping(hidden_path_, name_);
  if (hidden_path_.empty()) {
    is_published_ = true;
    needs_name_sync_ = !replaced;
  }
  return replaced;
}

Result<void> PosixFile::publish_hidden(uint64_t digits) {
  const std::string hidden = hidden_path_of(name_, purpose_, digits);
  if (::fsync(descriptor_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot sync", name_));
  }
  const int linked = is_nameless_ ? link_open_file(descriptor_, hidden)
                                  : rename_without_replacing(hidden_path_, hidden);
  if (linked == -1) {
    return system_failure(errno, fmt::format("{}: cannot create the new upper", name_));
  }
  is_nameless_ = false;
  hidden_path_ = hidden;
  return sync_directory_of(hidden);
}

Result<void> PosixFile::take_name() {
  if (::rename(hidden_path_.c_str(), name_.c_str()) == -1) {
    return system_failure(errno, fmt::format("{}: cannot put the new upper in place", name_));
  }
  hidden_path_.clear();
  is_published_ = true;
  needs_name_sync_ = true;
  return {};
}

Result<void> PosixFile::has_got_name() {
  hidden_path_.clear();
  is_published_ = true;
  needs_name_sync_ = true;
  return sync_name();
}

Result<void> PosixFile::sync_name() {
  if (needs_name_sync_) {
    UNIONFS_TRY(sync_directory_of(name_));
    needs_name_sync_ = false;
  }
  return {};
}

}  // namespace unionfs
