// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sinks/host_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace unionfs {
namespace {

constexpr int kDirectoryFlags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool is_name(std::string_view name) {
  return !name.empty() && name != "." && name != "..";
}

// The way to an open file that also an O_PATH descriptor allows.  It leads to the file itself,
// be that a symlink or not.
std::string way_to(int descriptor) {
  return fmt::format("/proc/self/fd/{}", descriptor);
}

timespec host_time(const FileTime& time) {
  return {.tv_sec = static_cast<time_t>(time.seconds),
          .tv_nsec = static_cast<long>(time.nanoseconds)};
}

}  // namespace

OwnedDescriptor::~OwnedDescriptor() {
  if (number_ != -1) {
    ::close(number_);
  }
}

Result<std::unique_ptr<HostWriter>> HostWriter::open(const std::string& top) {
  OwnedDescriptor opened(::open(top.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() == -1) {
    return system_failure(errno, fmt::format("{}: cannot open the directory", top));
  }
  return std::unique_ptr<HostWriter>(new HostWriter(top, std::move(opened)));
}

Failure HostWriter::failure(const std::string& path, const char* what) const {
  return system_failure(errno, fmt::format("{}: {}: cannot {}", name_, quoted_name(path), what));
}

Result<const OwnedDescriptor*> HostWriter::directory(const std::string& path) {
  if (path.empty()) {
    return &top_;
  }
  if (near_path_ == path) {
    return &near_;
  }
  OwnedDescriptor at;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    if (!is_name(name)) {
      return invalid("{}: {} is no path below it", name_, quoted_name(path));
    }
    OwnedDescriptor next(
        ::openat(begin == 0 ? top_.get() : at.get(), name.c_str(), kDirectoryFlags));
    if (next.get() == -1) {
      return failure(path, "open the directory");
    }
    at = std::move(next);
    begin = end + 1;
  }
  near_ = std::move(at);
  near_path_ = path;
  return &near_;
}

Result<HostWriter::Place> HostWriter::place_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  Place place{-1, path.substr(slash == std::string::npos ? 0 : slash + 1)};
  if (!is_name(place.name) || path.front() == '/') {
    return invalid("{}: {} is no path below it", name_, quoted_name(path));
  }
  UNIONFS_ASSIGN(const OwnedDescriptor* parent, directory(parent_of(path)));
  place.directory = parent->get();
  return place;
}

Result<HostWriter::Place> HostWriter::free_place(const std::string& path) {
  UNIONFS_ASSIGN(Place place, place_of(path));
  if (::unlinkat(place.directory, place.name.c_str(), 0) == 0 || errno == ENOENT) {
    return place;
  }
  if (errno != EISDIR && errno != EPERM) {
    return failure(path, "remove what is in its place");
  }
  if (::unlinkat(place.directory, place.name.c_str(), AT_REMOVEDIR) == -1) {
    return failure(path, "remove the directory in its place");
  }
  near_path_.reset();
  return place;
}

Result<void> HostWriter::remove(const std::string& path) {
  UNIONFS_TRY(free_place(path));
  return {};
}

Result<bool> HostWriter::make_directory(const std::string& path, uint32_t permissions) {
  UNIONFS_ASSIGN(Place place, place_of(path));
  if (::mkdirat(place.directory, place.name.c_str(), permissions) == 0) {
    return true;
  }
  struct stat status = {};
  if (errno != EEXIST ||
      ::fstatat(place.directory, place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == -1) {
    return failure(path, "make the directory");
  }
  if (S_ISDIR(status.st_mode)) {
    return false;
  }
  if (::unlinkat(place.directory, place.name.c_str(), 0) == -1 ||
      ::mkdirat(place.directory, place.name.c_str(), permissions) == -1) {
    return failure(path, "make a directory of what is in its place");
  }
  return true;
}

Result<OwnedDescriptor> HostWriter::make_file(const std::string& path, uint32_t permissions) {
  UNIONFS_ASSIGN(const Place place, free_place(path));
  OwnedDescriptor file(::openat(place.directory, place.name.c_str(),
                                O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, permissions));
  if (file.get() == -1) {
    return failure(path, "make the file");
  }
  return file;
}

Result<OwnedDescriptor> HostWriter::open_made(const Place& place, const std::string& path) const {
  OwnedDescriptor made(
      ::openat(place.directory, place.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (made.get() == -1) {
    return failure(path, "open what was made");
  }
  return made;
}

Result<OwnedDescriptor> HostWriter::make_symlink(const std::string& path,
                                                 const std::string& target) {
  UNIONFS_ASSIGN(const Place place, free_place(path));
  if (::symlinkat(target.c_str(), place.directory, place.name.c_str()) == -1) {
    return failure(path, "make the symlink");
  }
  return open_made(place, path);
}

Result<OwnedDescriptor> HostWriter::make_node(const std::string& path, uint32_t mode,
                                              uint32_t major, uint32_t minor) {
  UNIONFS_ASSIGN(const Place place, free_place(path));
  if (::mknodat(place.directory, place.name.c_str(), mode, makedev(major, minor)) == -1) {
    return failure(path, "make the device, fifo or socket");
  }
  return open_made(place, path);
}

Result<void> HostWriter::make_link(const std::string& path, const std::string& first_path) {
  UNIONFS_ASSIGN(const Place place, free_place(path));
  const OwnedDescriptor directory_of_path(::fcntl(place.directory, F_DUPFD_CLOEXEC, 0));
  UNIONFS_ASSIGN(const Place first, place_of(first_path));
  if (::linkat(first.directory, first.name.c_str(), directory_of_path.get(), place.name.c_str(),
               0) == -1) {
    return failure(path, "make the link");
  }
  return {};
}

// ---- what a file is like ---------------------------------------------------------

Result<void> set_host_owner(int descriptor, uint32_t user_id, uint32_t group_id) {
  if (::fchownat(descriptor, "", user_id, group_id, AT_EMPTY_PATH) == -1) {
    return system_failure(errno, fmt::format("cannot give it to {}:{}", user_id, group_id));
  }
  return {};
}

Result<void> set_host_permissions(int descriptor, uint32_t permissions) {
  if (::chmod(way_to(descriptor).c_str(), permissions) == -1) {
    return system_failure(errno, fmt::format("cannot set its mode to {:04o}", permissions));
  }
  return {};
}

Result<void> set_host_times(int descriptor, const FileTime& accessed, const FileTime& modified) {
  const timespec times[] = {host_time(accessed), host_time(modified)};
  if (::utimensat(AT_FDCWD, way_to(descriptor).c_str(), times, 0) == -1) {
    return system_failure(errno, "cannot set its times");
  }
  return {};
}

Result<void> set_host_attribute(int descriptor, const NamedAttribute& attribute) {
  if (::setxattr(way_to(descriptor).c_str(), attribute.name.c_str(), attribute.value.data(),
                 attribute.value.size(), 0) == -1) {
    return system_failure(errno,
                          fmt::format("cannot set its attribute {}", quoted_name(attribute.name)));
  }
  return {};
}

Result<void> remove_host_attribute(int descriptor, const std::string& name) {
  if (::removexattr(way_to(descriptor).c_str(), name.c_str()) == -1) {
    return system_failure(errno, fmt::format("cannot remove its attribute {}", quoted_name(name)));
  }
  return {};
}

}  // namespace unionfs
