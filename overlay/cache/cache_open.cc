// SPDX-License-Identifier: BSD-3-Clause
//
// The part of CacheFile that opens the file, or makes it.
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "overlay/cache/cache_file.h"
#include "overlay/upper/hash.h"
#include "overlay/upper/live_stamp.h"

namespace unionfs {
namespace {

using cache_format::Header;
using cache_format::Places;
using cache_format::places_of;
using cache_format::Region;
using cache_format::Use;

constexpr const char* kPurpose = "cache";  // of hidden names
constexpr auto kTimeToOpen = std::chrono::seconds(5);
constexpr uint64_t kLeastRegions = 16;
constexpr long kZfsMagic = 0x2fc12fc1;
constexpr long kBcachefsMagic = 0xca451a4e;

Header header_of(const CacheOptions& options) {
  Header header = {cache_format::kMagic,  cache_format::kVersion,
                   options.cluster_bytes, options.image_bytes,
                   options.key,           0};
  header.checksum = cache_format::checksum_of(header);
  return header;
}

Use use_of(const PosixFile& file, const std::string& boot_id) {
  Use use = {};
  std::memcpy(use.boot_id.data(), boot_id.data(), std::min(boot_id.size(), use.boot_id.size()));
  const FileIdentity identity = file.identity();
  use.device = identity.device;
  use.inode = identity.inode;
  use.birth_nanoseconds = identity.birth_nanoseconds;
  return use;
}

template <typename T>
bool is_same(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

// Nobody but us and root may change it: what is in it becomes the contents of disks.
Result<void> check_owner(const struct stat& status, const std::string& path, bool may_be_sticky) {
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return invalid("{}: belongs to another user, who could change what disks read", path);
  }
  const bool is_shared = (status.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  if (is_shared && !(may_be_sticky && (status.st_mode & S_ISVTX) != 0)) {
    return invalid("{}: others may write to it, who could change what disks read", path);
  }
  return {};
}

Result<void> check_directory(const std::string& path) {
  const std::string directory = directory_of(path);
  struct stat status;
  struct statfs system;
  if (::stat(directory.c_str(), &status) == -1 || ::statfs(directory.c_str(), &system) == -1) {
    return system_failure(errno,
                          fmt::format("{}: cannot look at its directory {}", path, directory));
  }
  constexpr std::array<long, 7> kLocal = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,  BTRFS_SUPER_MAGIC,
                                          TMPFS_MAGIC,      F2FS_SUPER_MAGIC, kZfsMagic,
                                          kBcachefsMagic};
  if (std::find(kLocal.begin(), kLocal.end(), static_cast<long>(system.f_type)) == kLocal.end()) {
    return invalid(
        "{}: a cache must be on a file system of this host alone: ext2 to ext4, XFS, Btrfs, F2FS, "
        "ZFS, bcachefs or tmpfs",
        path);
  }
  return check_owner(status, directory, true);
}

Result<void> check_file(const PosixFile& file) {
  struct stat status;
  if (::fstat(file.descriptor(), &status) == -1) {
    return system_failure(errno, fmt::format("{}: cannot look at it", file.name()));
  }
  return check_owner(status, file.name(), false);
}

bool is_a_cache(const PosixFile& file) {
  const auto magic = read_structure<std::array<char, 8>>(file, cache_format::kHeaderOffset);
  return magic && *magic == cache_format::kMagic;
}

// The path without links.
Result<std::string> place_for(const std::string& path) {
  UNIONFS_ASSIGN(const std::string directory, real_path_of(directory_of(path)));
  return directory + "/" + path.substr(path.rfind('/') + 1);
}

// Whoever opens it after a boot believes what is durable.
Result<void> begin_boot(PosixFile& file, const Places& places, const Use& use) {
  std::vector<uint64_t> durable(places.region_count);
  UNIONFS_TRY(file.read(places.durable_offset, std::as_writable_bytes(std::span(durable))));
  std::vector<Region> regions(places.region_count);
  for (size_t i = 0; i < regions.size(); ++i) {
    regions[i] = {0, durable[i]};
  }
  UNIONFS_TRY(file.write(cache_format::kRegionsOffset, std::as_bytes(std::span(regions))));
  return file.write(cache_format::kUseOffset, bytes_of(use));
}

// Of a file whose data cannot be believed, what is read first of the image: that is only advice,
// and has a checksum.  Where it cannot be had there is none.
void keep_traces(const PosixFile& from, PosixFile& to, const Places& places, const Header& wanted) {
  const Result<Header> header = read_structure<Header>(from, cache_format::kHeaderOffset);
  std::vector<std::byte> traces(cache_format::kTraceSlots * cache_format::kTraceSlotBytes);
  if (header && is_same(*header, wanted) && from.read(places.traces_offset, traces)) {
    (void)to.write(places.traces_offset, traces);
  }
}

enum class Fitness { kAsItIs, kNewBoot, kUseless };

Result<Fitness> look_at(const PosixFile& file, const Places& places, const Header& wanted,
                        const Use& use) {
  if (file.size_bytes() != places.file_bytes) {
    return Fitness::kUseless;
  }
  UNIONFS_ASSIGN(const Header header, read_structure<Header>(file, cache_format::kHeaderOffset));
  UNIONFS_ASSIGN(const Use used, read_structure<Use>(file, cache_format::kUseOffset));
  UNIONFS_ASSIGN(const uint64_t poison,
                 read_structure<uint64_t>(file, cache_format::kPoisonOffset));
  // A device may get another number at a boot.
  const bool is_same_boot = used.boot_id == use.boot_id;
  const bool is_this_file = (!is_same_boot || used.device == use.device) &&
                            used.inode == use.inode &&
                            used.birth_nanoseconds == use.birth_nanoseconds;
  if (!is_same(header, wanted) || poison != 0 || !is_this_file) {
    return Fitness::kUseless;
  }
  return is_same(used, use) ? Fitness::kAsItIs : Fitness::kNewBoot;
}

}  // namespace

uint64_t cache_format::checksum_of(const Header& header) {
  Hash hash;
  hash.add(bytes_of(header).first(offsetof(Header, checksum)));
  return hash.value();
}

bool cache_format::is_header(const Header& header) {
  constexpr uint64_t kMostBytes = uint64_t{1} << 60;
  return header.magic == kMagic && header.version == kVersion &&
         header.checksum == checksum_of(header) && std::has_single_bit(header.cluster_bytes) &&
         header.cluster_bytes >= kPageBytes && header.image_bytes > 0 &&
         header.image_bytes < kMostBytes;
}

uint64_t CacheFile::least_bytes(const CacheOptions& options) {
  const uint64_t region = options.cluster_bytes * kClustersPerRegion;
  return places_of(options.image_bytes, options.cluster_bytes).data_offset +
         std::min(kLeastRegions * region, round_up(options.image_bytes, region));
}

Result<void> CacheFile::check(const std::string& path) {
  UNIONFS_ASSIGN(const std::string place, place_for(path));
  UNIONFS_TRY(check_directory(place));
  Result<std::unique_ptr<PosixFile>> file =
      PosixFile::open(place, FileLock::kNone, FileLinks::kRefuse);
  if (!file) {
    if (file.error().error_number != ENOENT) {
      return Failure(file.error());
    }
    return ::access(directory_of(place).c_str(), W_OK) == 0
               ? Result<void>()
               : system_failure(errno, fmt::format("{}: cannot make a cache there", path));
  }
  UNIONFS_TRY(check_file(**file));
  if (!is_a_cache(**file)) {
    return invalid("{}: is no cache, and is left as it is", path);
  }
  return {};
}

void CacheFile::remove_leftovers_in(const std::string& directory) {
  (void)unionfs::remove_leftovers_in(
      directory, kPurpose, [](std::string_view name) { return name.ends_with(".cache"); });
}

Result<std::unique_ptr<PosixFile>> CacheFile::create(const std::string& path,
                                                     const CacheOptions& options) {
  const Places places = places_of(options.image_bytes, options.cluster_bytes);
  UNIONFS_ASSIGN(std::unique_ptr<PosixFile> file, PosixFile::create_for(path, kPurpose));
  UNIONFS_TRY(file->set_mode(S_IRUSR | S_IWUSR));
  UNIONFS_TRY(file->resize(places.file_bytes));
  // A write is what takes space on every host.
  const std::vector<std::byte> zeros(uint64_t{1} << 20);
  for (uint64_t at = 0; at < places.data_offset;) {
    const uint64_t count = std::min<uint64_t>(zeros.size(), places.data_offset - at);
    UNIONFS_TRY(file->write(at, ConstByteSpan(zeros).first(count)));
    at += count;
  }
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  UNIONFS_TRY(file->write(cache_format::kUseOffset, bytes_of(use_of(*file, boot_id))));
  UNIONFS_TRY(file->write(cache_format::kHeaderOffset, bytes_of(header_of(options))));
  return file;
}

// With a lock that nobody else has, for as long as it is looked at and made ready.
Result<std::unique_ptr<PosixFile>> CacheFile::open_once(const std::string& path,
                                                        const CacheOptions& options) {
  Result<std::unique_ptr<PosixFile>> found =
      PosixFile::open(path, FileLock::kExclusive, FileLinks::kRefuse);
  if (!found) {
    if (found.error().error_number != ENOENT) {
      return found;
    }
    UNIONFS_ASSIGN(std::unique_ptr<PosixFile> created, create(path, options));
    UNIONFS_TRY(created->publish());
    return created;
  }
  std::unique_ptr<PosixFile> file = *std::move(found);
  UNIONFS_TRY(check_file(*file));
  if (!is_a_cache(*file)) {
    return invalid("{}: is no cache, and is left as it is", path);
  }
  UNIONFS_TRY(file->make_writable());
  const Places places = places_of(options.image_bytes, options.cluster_bytes);
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  const Use use = use_of(*file, boot_id);
  const Result<Fitness> fitness = look_at(*file, places, header_of(options), use);
  if (fitness && *fitness == Fitness::kAsItIs) {
    return file;
  }
  if (fitness && *fitness == Fitness::kNewBoot && begin_boot(*file, places, use)) {
    return file;
  }
  if (options.log) {
    options.log(
        fmt::format("{}: is no cache of this image as it is now; a new one takes its place", path));
  }
  UNIONFS_ASSIGN(std::unique_ptr<PosixFile> created, create(path, options));
  keep_traces(*file, *created, places, header_of(options));
  UNIONFS_TRY(created->publish_instead_of(*file));
  return created;
}

Result<std::unique_ptr<CacheFile>> CacheFile::open(const std::string& path,
                                                   const CacheOptions& options) {
  UNIONFS_ASSIGN(const std::string place, place_for(path));
  UNIONFS_TRY(check_directory(place));
  (void)remove_leftovers(place, kPurpose);
  const auto deadline = std::chrono::steady_clock::now() + kTimeToOpen;
  while (true) {
    Result<std::unique_ptr<PosixFile>> file = open_once(place, options);
    if (file) {
      UNIONFS_TRY((*file)->change_lock(FileLock::kNone));
      std::unique_ptr<CacheFile> cache(new CacheFile(*std::move(file), options));
      UNIONFS_TRY(cache->map());
      // Whoever tidies up sees that it is used.
      (void)::futimens(cache->file().descriptor(), nullptr);
      cache->thread_ = std::thread([raw = cache.get()] { raw->run(); });
      return cache;
    }
    const int error = file.error().error_number;
    const bool is_others = error == EBUSY || error == EEXIST || error == ENOENT;
    if (!is_others || std::chrono::steady_clock::now() > deadline) {
      return Failure(file.error());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

CacheFile::CacheFile(std::unique_ptr<PosixFile> file, const CacheOptions& options)
    : file_(std::move(file)),
      options_(options),
      places_(places_of(options.image_bytes, options.cluster_bytes)),
      evicted_(places_.region_count),
      hand_(std::random_device()() % places_.region_count) {
  // What others filled who died since is to be durable as well.
  is_dirty_ = true;
}

Result<void> CacheFile::map() {
  UNIONFS_ASSIGN(mapping_, file_->map(0, round_up(places_.data_offset, cache_format::kPageBytes)));
  return {};
}

CacheFile::~CacheFile() {
  if (thread_.joinable()) {
    {
      const MutexLock lock(mutex_);
      has_to_stop_ = true;
    }
    wakeup_.notify_all();
    thread_.join();
  }
}

}  // namespace unionfs
