// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/host_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace unionfs {
namespace {

bool is_same_time(const timespec& one, const timespec& other) {
  return one.tv_sec == other.tv_sec && one.tv_nsec == other.tv_nsec;
}

bool is_unchanged(const struct stat& now, const struct stat& then) {
  return now.st_dev == then.st_dev && now.st_ino == then.st_ino && now.st_mode == then.st_mode &&
         now.st_size == then.st_size && is_same_time(now.st_mtim, then.st_mtim) &&
         is_same_time(now.st_ctim, then.st_ctim);
}

}  // namespace

class HostFileBytes final : public FileBytes {
 public:
  HostFileBytes(std::shared_ptr<HostFiles> files, std::string path, const struct stat& status)
      : files_(std::move(files)), path_(std::move(path)), status_(status) {}

  uint64_t size_bytes() const override { return static_cast<uint64_t>(status_.st_size); }

  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    const uint64_t size = size_bytes();
    if (offset >= size) {
      return std::optional<ByteRange>();
    }
    UNIONFS_ASSIGN(const int file, files_->borrow(path_, status_));
    const off_t data = ::lseek(file, static_cast<off_t>(offset), SEEK_DATA);
    if (data == -1 && errno == ENXIO) {
      return std::optional<ByteRange>();
    }
    if (data == -1) {
      return std::optional<ByteRange>({offset, size});  // the host cannot tell
    }
    const off_t hole = ::lseek(file, data, SEEK_HOLE);
    const auto begin = static_cast<uint64_t>(data);
    const uint64_t end = hole == -1 ? size : std::min(static_cast<uint64_t>(hole), size);
    return begin < end ? std::optional<ByteRange>({begin, end}) : std::nullopt;
  }

  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    const uint64_t left = size_bytes() - std::min(offset, size_bytes());
    ByteSpan part = buffer.first(std::min<uint64_t>(left, buffer.size()));
    std::ranges::fill(buffer.subspan(part.size()), std::byte(0));
    if (part.empty()) {
      return {};
    }
    UNIONFS_ASSIGN(const int file, files_->borrow(path_, status_));
    while (!part.empty()) {
      const ssize_t got = ::pread(file, part.data(), part.size(), static_cast<off_t>(offset));
      if (got == -1 && errno == EINTR) {
        continue;
      }
      if (got == -1) {
        return system_failure(
            errno, fmt::format("{}: cannot read at offset {}", files_->name_of(path_), offset));
      }
      if (got == 0) {
        return invalid("{}: has become shorter while it was read", files_->name_of(path_));
      }
      offset += static_cast<uint64_t>(got);
      part = part.subspan(static_cast<size_t>(got));
    }
    return files_->check_unchanged(file, path_, status_);
  }

 private:
  const std::shared_ptr<HostFiles> files_;
  const std::string path_;
  const struct stat status_;
};

Result<std::shared_ptr<HostFiles>> HostFiles::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot open the directory", path));
  }
  return std::shared_ptr<HostFiles>(new HostFiles(path, descriptor));
}

HostFiles::~HostFiles() {
  for (const OpenFile& file : open_files_) {
    if (file.descriptor != -1) {
      ::close(file.descriptor);
    }
  }
  ::close(descriptor_);
}

std::string HostFiles::name_of(const std::string& path_below) const {
  return path_below.empty() ? path_ : fmt::format("{}: {}", path_, quoted_name(path_below));
}

Result<int> HostFiles::open_below(const std::string& path_below,
                                  const struct stat& expected) const {
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  const std::string path = path_below.empty() ? "." : path_below;
  int file = ::openat(descriptor_, path.c_str(), kFlags | O_NOATIME);
  if (file == -1 && errno == EPERM) {
    file = ::openat(descriptor_, path.c_str(), kFlags);
  }
  if (file == -1) {
    return system_failure(errno, fmt::format("{}: cannot open", name_of(path_below)));
  }
  if (const auto unchanged = check_unchanged(file, path_below, expected); !unchanged) {
    ::close(file);
    return Failure(unchanged.error());
  }
  return file;
}

Result<void> HostFiles::check_unchanged(int file, const std::string& path_below,
                                        const struct stat& expected) const {
  struct stat status;
  if (::fstat(file, &status) == -1) {
    return system_failure(errno, fmt::format("{}: cannot stat", name_of(path_below)));
  }
  if (!is_unchanged(status, expected)) {
    return invalid("{}: has changed while the directory was read", name_of(path_below));
  }
  return {};
}

Result<int> HostFiles::borrow(const std::string& path_below, const struct stat& expected) {
  for (const OpenFile& file : open_files_) {
    if (file.descriptor != -1 && file.inode == expected.st_ino && file.device == expected.st_dev) {
      return file.descriptor;
    }
  }
  UNIONFS_ASSIGN(const int descriptor, open_below(path_below, expected));
  OpenFile& slot = open_files_[next_];
  next_ = (next_ + 1) % open_files_.size();
  if (slot.descriptor != -1) {
    ::close(slot.descriptor);
  }
  slot = {descriptor, expected.st_ino, expected.st_dev};
  return descriptor;
}

std::shared_ptr<FileBytes> HostFiles::content(std::shared_ptr<HostFiles> files,
                                              std::string path_below, const struct stat& expected) {
  return std::make_shared<HostFileBytes>(std::move(files), std::move(path_below), expected);
}

}  // namespace unionfs
