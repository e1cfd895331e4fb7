// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/posix_file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace unionfs {
namespace {

// The longest gap between two ranges, in bytes, that costs less to read and throw away than
// another system call does.  docs/design.md, "Many small runs", has the figures.
constexpr uint64_t kLongestGap = 4096;
constexpr uint64_t kLongestGapInMemory = 2048;
constexpr size_t kMaxJoined = 64;  // ranges of one system call; with gaps below IOV_MAX

class PosixRegion final : public MappedRegion {
 public:
  PosixRegion(void* memory, size_t length) : memory_(memory), length_(length) {}
  ~PosixRegion() override { ::munmap(memory_, length_); }
  ByteSpan bytes() override { return {static_cast<std::byte*>(memory_), length_}; }

 private:
  void* memory_;
  size_t length_;
};

// As open(2).  A kernel before 5.6, or a sandbox that does not know the call, looks at the last
// part of the path only.
int open_by(const std::string& path, int flags, FileLinks links) {
  if (links == FileLinks::kFollow) {
    return ::open(path.c_str(), flags);
  }
  flags |= O_NOFOLLOW | O_NOCTTY;
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const long descriptor = ::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how));
  if (descriptor == -1 && (errno == ENOSYS || errno == EPERM)) {
    return ::open(path.c_str(), flags);
  }
  return static_cast<int>(descriptor);
}

// Of a file system that keeps its files in memory: nothing there waits for a
// disk, and a ring would hand each read to a thread of its own.
bool is_in_memory(int descriptor) {
  struct statfs status;
  return ::fstatfs(descriptor, &status) == 0 &&
         (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

}  // namespace

// Between opening and locking another server may have put a new upper in the
// place of this one; then the lock is on a file that has no name any more.
Result<std::unique_ptr<PosixFile>> PosixFile::open(const std::string& path, FileLock lock,
                                                   FileLinks links) {
  constexpr int kMaxTries = 5;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    UNIONFS_ASSIGN(std::unique_ptr<PosixFile> file, open_once(path, lock, links));
    const bool is_upper = lock == FileLock::kSharedUpper || lock == FileLock::kExclusive;
    if (!is_upper || file->is_named(path)) {
      return file;
    }
  }
  return system_failure(EBUSY, fmt::format("{}: is being replaced again and again", path));
}

Result<std::unique_ptr<PosixFile>> PosixFile::open_once(const std::string& path, FileLock lock,
                                                        FileLinks links) {
  constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
  int write_error = EROFS;
  int descriptor = -1;
  if (lock == FileLock::kExclusive) {
    descriptor = open_by(path, O_RDWR | kFlags, links);
    write_error = descriptor == -1 ? errno : 0;
  }
  if (descriptor == -1 && write_error != ENOENT) {
    // Reading leaves no trace, where the host lets us: that takes the owner.
    descriptor = open_by(path, O_RDONLY | O_NOATIME | kFlags, links);
    if (descriptor == -1 && errno == EPERM) {
      descriptor = open_by(path, O_RDONLY | kFlags, links);
    }
  }
  if (descriptor == -1) {
    return system_failure(errno, fmt::format("{}: cannot open", path));
  }
  std::unique_ptr<PosixFile> file(new PosixFile(path, descriptor));
  file->write_error_ = write_error;
  UNIONFS_TRY(file->learn_size(lock == FileLock::kNone || lock == FileLock::kShared));
  UNIONFS_TRY(file->take_lock(lock));
  return file;
}

PosixFile::~PosixFile() {
  if (!hidden_path_.empty()) {
    ::unlink(hidden_path_.c_str());
  }
  ::close(descriptor_);
}

Result<void> PosixFile::take_lock(FileLock lock) {
  if (lock == FileLock::kNone) {
    return {};
  }
  const int operation = lock == FileLock::kExclusive ? LOCK_EX : LOCK_SH;
  if (::flock(descriptor_, operation | LOCK_NB) == 0) {
    return {};
  }
  if (errno == EWOULDBLOCK) {
    return system_failure(EBUSY,
                          lock == FileLock::kExclusive
                              ? fmt::format("{}: is in use by another server, as its upper "
                                            "or its lower",
                                            name_)
                              : fmt::format("{}: is in use as another server's upper", name_));
  }
  return system_failure(errno, fmt::format("{}: cannot lock", name_));
}

Result<void> PosixFile::change_lock(FileLock lock) {
  if (lock == FileLock::kNone) {
    (void)::flock(descriptor_, LOCK_UN);
    return {};
  }
  return take_lock(lock);
}

Result<void> PosixFile::learn_size(bool block_device_allowed) {
  struct stat status;
  if (::fstat(descriptor_, &status) == -1) {
    return system_failure(errno, fmt::format("{}: cannot stat", name_));
  }
  if (S_ISREG(status.st_mode)) {
    size_bytes_ = static_cast<uint64_t>(status.st_size);
    return {};
  }
  if (S_ISDIR(status.st_mode)) {
    return system_failure(EISDIR, fmt::format("{}: is not an image", name_));
  }
  if (!S_ISBLK(status.st_mode) || !block_device_allowed) {
    return invalid("{}: is not a regular file", name_);
  }
  if (::ioctl(descriptor_, BLKGETSIZE64, &size_bytes_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot get the size of the device", name_));
  }
  return {};
}

Result<void> PosixFile::check_can_write() const {
  if (!is_writable_ && write_error_ != 0) {
    return system_failure(write_error_, fmt::format("{}: cannot open for writing", name_));
  }
  return {};
}

Result<void> PosixFile::make_writable() {
  UNIONFS_TRY(check_can_write());
  is_writable_ = true;
  return {};
}

bool PosixFile::is_named(const std::string& path) const {
  struct stat mine;
  struct stat named;
  return ::fstat(descriptor_, &mine) == 0 && ::stat(path.c_str(), &named) == 0 &&
         mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
}

Result<HostSpace> PosixFile::space() const {
  constexpr uint64_t kSectorBytes = 512;  // of st_blocks
  struct stat status = {};
  struct statvfs system = {};
  if (::fstat(descriptor_, &status) == -1 || ::fstatvfs(descriptor_, &system) == -1) {
    return system_failure(errno, fmt::format("{}: cannot find its space", name_));
  }
  return HostSpace{static_cast<uint64_t>(status.st_blocks) * kSectorBytes,
                   uint64_t{system.f_bavail} * system.f_frsize};
}

bool PosixFile::is_same_file(const PosixFile& other) const {
  struct stat mine;
  struct stat others;
  return ::fstat(descriptor_, &mine) == 0 && ::fstat(other.descriptor_, &others) == 0 &&
         mine.st_dev == others.st_dev && mine.st_ino == others.st_ino;
}

Result<void> PosixFile::read(uint64_t offset, ByteSpan buffer) const {
  while (!buffer.empty()) {
    const ssize_t got =
        ::pread(descriptor_, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got == -1 && errno == EINTR) {
      continue;
    }
    if (got == -1) {
      return system_failure(errno, fmt::format("{}: cannot read at offset {}", name_, offset));
    }
    if (got == 0) {
      return corrupt("{}: ends at offset {}, in the middle of what is to be read", name_, offset);
    }
    offset += static_cast<uint64_t>(got);
    buffer = buffer.subspan(static_cast<size_t>(got));
  }
  return {};
}

// The parts follow one another in the file.  Returns how many of their bytes were at hand.
size_t PosixFile::read_at_hand(uint64_t offset, std::span<const iovec> parts) const {
  const CachedReads way = cached_reads_.load(std::memory_order_relaxed);
  if (way == CachedReads::kNone) {
    return 0;
  }
  const ssize_t got =
      ::preadv2(descriptor_, parts.data(), static_cast<int>(parts.size()),
                static_cast<off_t>(offset), way == CachedReads::kNoWait ? RWF_NOWAIT : 0);
  if (got >= 0) {
    return static_cast<size_t>(got);
  }
  if (way == CachedReads::kNoWait && (errno == EOPNOTSUPP || errno == EINVAL)) {
    cached_reads_.store(is_in_memory(descriptor_) ? CachedReads::kAlways : CachedReads::kNone,
                        std::memory_order_relaxed);
    return read_at_hand(offset, parts);
  }
  return 0;
}

size_t PosixFile::read_cached(uint64_t offset, ByteSpan buffer) const {
  const iovec part{buffer.data(), buffer.size()};
  return read_at_hand(offset, std::span(&part, 1));
}

// How many ranges from the first on one system call is to read.
size_t PosixFile::count_joined(std::span<const ReadRange> ranges) const {
  const uint64_t longest_gap = cached_reads_.load(std::memory_order_relaxed) == CachedReads::kAlways
                                   ? kLongestGapInMemory
                                   : kLongestGap;
  size_t count = 1;
  while (count < std::min(ranges.size(), kMaxJoined)) {
    const ReadRange& before = ranges[count - 1];
    if (ranges[count].offset - (before.offset + before.buffer.size()) > longest_gap) {
      break;
    }
    ++count;
  }
  return count;
}

// Advances the ranges past what was read.  Returns how many of them were read whole.  The host
// stops at the first page that it has not cached, also between two ranges.
size_t PosixFile::read_joined(std::span<ReadRange> ranges) const {
  std::array<iovec, 2 * kMaxJoined> parts;
  std::array<std::byte, kLongestGap> thrown_away;  // every gap goes here, one over the other
  size_t part_count = 0;
  uint64_t end = ranges.front().offset;
  for (const ReadRange& range : ranges) {
    if (range.offset > end) {
      parts[part_count++] = {thrown_away.data(), range.offset - end};
    }
    parts[part_count++] = {range.buffer.data(), range.buffer.size()};
    end = range.offset + range.buffer.size();
  }
  const uint64_t begin = ranges.front().offset;
  const uint64_t read_end = begin + read_at_hand(begin, std::span(parts).first(part_count));
  size_t whole_count = 0;
  for (ReadRange& range : ranges) {
    if (range.offset >= read_end) {
      break;
    }
    range.advance(std::min<uint64_t>(read_end - range.offset, range.buffer.size()));
    whole_count += range.buffer.empty() ? 1 : 0;
  }
  return whole_count;
}

void PosixFile::read_cached_ranges(std::span<ReadRange> ranges) const {
  bool may_join = true;
  while (!ranges.empty()) {
    const size_t joined = may_join ? count_joined(ranges) : 1;
    const size_t whole = read_joined(ranges.first(joined));
    if (whole == 0) {
      return;  // it waits for the disk, and whoever waits for it takes the others along
    }
    // The gap behind the first range is not cached, and so probably no other one is: a call for
    // each range costs no more than trying each gap.
    may_join = may_join && (whole > 1 || joined == 1);
    ranges = ranges.subspan(whole);
  }
}

FileExtent PosixFile::extent_at(uint64_t offset) const {
  const off_t data = ::lseek(descriptor_, static_cast<off_t>(offset), SEEK_DATA);
  if (data == -1) {
    return {errno == ENXIO, size_bytes_};  // no data up to the end, or no telling
  }
  if (static_cast<uint64_t>(data) > offset) {
    return {true, static_cast<uint64_t>(data)};
  }
  const off_t hole = ::lseek(descriptor_, static_cast<off_t>(offset), SEEK_HOLE);
  return {false, hole == -1 ? size_bytes_ : static_cast<uint64_t>(hole)};
}

FileIdentity PosixFile::identity() const {
  struct statx status;
  if (::statx(descriptor_, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &status) == -1) {
    return {};
  }
  FileIdentity identity;
  identity.device = uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor;
  identity.inode = status.stx_ino;
  if ((status.stx_mask & STATX_BTIME) != 0) {
    constexpr uint64_t kNanosecondsPerSecond = 1000000000;
    identity.birth_nanoseconds =
        static_cast<uint64_t>(status.stx_btime.tv_sec) * kNanosecondsPerSecond +
        status.stx_btime.tv_nsec;
  }
  return identity;
}

void PosixFile::prefetch(uint64_t offset, uint64_t length) const {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(length),
                  POSIX_FADV_WILLNEED);
}

Result<void> PosixFile::write(uint64_t offset, ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const ssize_t put =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put == -1 && errno == EINTR) {
      continue;
    }
    if (put == -1) {
      return system_failure(errno, fmt::format("{}: cannot write at offset {}", name_, offset));
    }
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return {};
}

Result<void> PosixFile::change_space(int mode, uint64_t offset, uint64_t length, const char* what) {
  int result = -1;
  do {
    result = ::fallocate(descriptor_, mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                         static_cast<off_t>(length));
  } while (result == -1 && errno == EINTR);
  if (result == -1) {
    return system_failure(
        errno, fmt::format("{}: cannot {} {} bytes at offset {}", name_, what, length, offset));
  }
  return {};
}

Result<void> PosixFile::punch(uint64_t offset, uint64_t length) {
  return change_space(FALLOC_FL_PUNCH_HOLE, offset, length, "punch");
}

Result<void> PosixFile::zero_range(uint64_t offset, uint64_t length) {
  return change_space(FALLOC_FL_ZERO_RANGE, offset, length, "zero");
}

Result<void> PosixFile::allocate(uint64_t offset, uint64_t length) {
  return change_space(0, offset, length, "allocate");
}

Result<void> PosixFile::resize(uint64_t size_bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(size_bytes)) == -1) {
    return system_failure(errno,
                          fmt::format("{}: cannot make it {} bytes long", name_, size_bytes));
  }
  size_bytes_ = size_bytes;
  return {};
}

Result<void> PosixFile::sync() {
  if (::fdatasync(descriptor_) == -1) {
    return system_failure(errno, fmt::format("{}: cannot sync", name_));
  }
  return {};
}

// Of others it is not known, or they make reflinks.
bool PosixFile::overwrites_in_place() const {
  struct statfs status;
  return ::fstatfs(descriptor_, &status) == 0 &&
         (status.f_type == EXT4_SUPER_MAGIC || status.f_type == TMPFS_MAGIC);
}

Result<std::unique_ptr<MappedRegion>> PosixFile::map(uint64_t offset, uint64_t length) {
  void* memory = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                        is_writable_ ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE, descriptor_,
                        static_cast<off_t>(offset));
  if (memory == MAP_FAILED) {
    return system_failure(errno,
                          fmt::format("{}: cannot map {} bytes at {}", name_, length, offset));
  }
  // Blocks are touched at random; reading ahead would only fill memory.
  ::madvise(memory, length, MADV_RANDOM);
  return std::unique_ptr<MappedRegion>(std::make_unique<PosixRegion>(memory, length));
}

}  // namespace unionfs
