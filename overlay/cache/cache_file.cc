// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/cache_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "overlay/upper/hash.h"
#include "overlay/upper/live_stamp.h"

namespace unionfs {
namespace {

using cache_format::Header;
using cache_format::Places;
using cache_format::places_of;
using cache_format::Region;
using cache_format::Use;

constexpr auto kTimeToOpen = std::chrono::seconds(5);
constexpr auto kPauseWithoutSpace = std::chrono::minutes(1);
constexpr auto kPauseForLock = std::chrono::microseconds(100);
constexpr int kTriesForLock = 5;
constexpr size_t kEvictedAtOnce = 16;  // regions, for one sync
constexpr uint64_t kLeastRegions = 16;
constexpr long kZfsMagic = 0x2fc12fc1;
constexpr long kBcachefsMagic = 0xca451a4e;

// A lock of the open file at one place.  Never waits; one that is taken may be somebody's who
// sleeps.
class PlaceLock {
 public:
  PlaceLock(const PosixFile& file, uint64_t place) : file_(file), place_(place) {
    for (int tries = 0; tries < kTriesForLock && !is_held_; ++tries) {
      if (tries > 0) {
        std::this_thread::sleep_for(kPauseForLock);
      }
      is_held_ = change(F_WRLCK);
    }
  }
  ~PlaceLock() {
    if (is_held_) {
      change(F_UNLCK);
    }
  }
  PlaceLock(const PlaceLock&) = delete;
  PlaceLock& operator=(const PlaceLock&) = delete;

  explicit operator bool() const { return is_held_; }

 private:
  bool change(short type) const {
    struct flock lock = {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(place_);
    lock.l_len = 1;
    return ::fcntl(file_.descriptor(), F_OFD_SETLK, &lock) == 0;
  }

  const PosixFile& file_;
  const uint64_t place_;
  bool is_held_ = false;
};

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

template <typename T>
Result<void> write_structure(PosixFile& file, uint64_t offset, const T& structure) {
  return file.write(offset, std::as_bytes(std::span(&structure, 1)));
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
  return write_structure(file, cache_format::kUseOffset, use);
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

// ---- opening -------------------------------------------------------------------

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

Result<std::unique_ptr<PosixFile>> CacheFile::create(const std::string& path,
                                                     const CacheOptions& options) {
  const Places places = places_of(options.image_bytes, options.cluster_bytes);
  UNIONFS_ASSIGN(std::unique_ptr<PosixFile> file, PosixFile::create_for(path, "cache"));
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
  UNIONFS_TRY(write_structure(*file, cache_format::kUseOffset, use_of(*file, boot_id)));
  UNIONFS_TRY(write_structure(*file, cache_format::kHeaderOffset, header_of(options)));
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
  UNIONFS_TRY(created->publish_instead_of(*file));
  return created;
}

Result<std::unique_ptr<CacheFile>> CacheFile::open(const std::string& path,
                                                   const CacheOptions& options) {
  UNIONFS_ASSIGN(const std::string place, place_for(path));
  UNIONFS_TRY(check_directory(place));
  const auto deadline = std::chrono::steady_clock::now() + kTimeToOpen;
  while (true) {
    Result<std::unique_ptr<PosixFile>> file = open_once(place, options);
    if (file) {
      UNIONFS_TRY((*file)->change_lock(FileLock::kNone));
      std::unique_ptr<CacheFile> cache(new CacheFile(*std::move(file), options));
      UNIONFS_TRY(cache->map());
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
      const std::lock_guard<std::mutex> guard(mutex_);
      has_to_stop_ = true;
    }
    wakeup_.notify_all();
    thread_.join();
  }
}

// ---- bits ----------------------------------------------------------------------

const std::atomic<uint64_t>& CacheFile::word_at(uint64_t offset) const {
  static_assert(sizeof(std::atomic<uint64_t>) == sizeof(uint64_t));
  return *reinterpret_cast<const std::atomic<uint64_t>*>(section(offset));
}

const std::atomic<uint64_t>& CacheFile::generation_of(uint64_t region) const {
  return word_at(cache_format::kRegionsOffset + region * sizeof(Region) +
                 offsetof(Region, generation));
}

const std::atomic<uint64_t>& CacheFile::live_of(uint64_t region) const {
  return word_at(cache_format::kRegionsOffset + region * sizeof(Region) + offsetof(Region, live));
}

uint8_t CacheFile::clock_of(uint64_t region) const {
  const std::byte* byte = section(places_.clocks_offset + region);
  return reinterpret_cast<const std::atomic<uint8_t>*>(byte)->load(std::memory_order_relaxed);
}

bool CacheFile::is_poisoned() const {
  return is_useless_.load(std::memory_order_relaxed) ||
         word_at(cache_format::kPoisonOffset).load(std::memory_order_acquire) != 0;
}

// Others see each of its bytes as it was or as it is: bits that are set, or a number that is
// neither what it was before nor what it will be.
Result<void> CacheFile::write_word(uint64_t offset, uint64_t value) {
  return write_structure(*file_, offset, value);
}

CacheFile::Run CacheFile::run_at(uint64_t begin, uint64_t end) const {
  const uint64_t region = begin / kClustersPerRegion;
  const uint64_t first = begin % kClustersPerRegion;
  const uint64_t most = std::min(end - begin, kClustersPerRegion - first);
  const uint64_t generation = generation_of(region).load(std::memory_order_acquire);
  if (is_poisoned()) {
    return {false, begin + most, generation};
  }
  const uint64_t bits = live_of(region).load(std::memory_order_acquire) >> first;
  const bool is_there = (bits & 1) != 0;
  const auto same = static_cast<uint64_t>(std::countr_zero(is_there ? ~bits : bits));
  return {is_there, begin + std::min(most, same), generation};
}

bool CacheFile::is_same_generation(uint64_t cluster, uint64_t generation) const {
  // What was read, was read before this.
  std::atomic_thread_fence(std::memory_order_acquire);
  return generation_of(cluster / kClustersPerRegion).load(std::memory_order_relaxed) ==
             generation &&
         !is_poisoned();
}

uint64_t CacheFile::count() const {
  uint64_t count = 0;
  for (uint64_t region = 0; region < places_.region_count; ++region) {
    count += static_cast<uint64_t>(std::popcount(live_of(region).load(std::memory_order_relaxed)));
  }
  return count;
}

void CacheFile::touch(uint64_t cluster) {
  const uint64_t region = cluster / kClustersPerRegion;
  if (options_.most_bytes != 0 && clock_of(region) == 0) {
    (void)write_structure(*file_, places_.clocks_offset + region, uint8_t{1});
  }
}

// ---- filling -------------------------------------------------------------------

bool CacheFile::is_full() const {
  if (options_.most_bytes == 0) {
    return false;
  }
  const Result<HostSpace> space = file_->space();
  return !space || space->used_bytes + cluster_bytes() > options_.most_bytes;
}

void CacheFile::pause_filling(const Error& error) {
  const auto until = std::chrono::steady_clock::now() + kPauseWithoutSpace;
  no_fill_before_ = until.time_since_epoch().count();
  if (options_.log && !has_complained_.exchange(true)) {
    options_.log(fmt::format("{}; nothing more is cached until there is space", error.message));
  }
}

Result<void> CacheFile::fill_locked(uint64_t region, uint64_t bit, uint64_t cluster,
                                    ConstByteSpan bytes) {
  const uint64_t live = live_of(region).load(std::memory_order_acquire);
  if ((live & bit) != 0) {
    return {};
  }
  UNIONFS_TRY(file_->write(place_of(cluster * cluster_bytes()), bytes));
  return write_word(cache_format::kRegionsOffset + region * sizeof(Region) + offsetof(Region, live),
                    live | bit);
}

void CacheFile::fill(uint64_t cluster, ConstByteSpan bytes) {
  if (is_poisoned() || std::chrono::steady_clock::now().time_since_epoch().count() <
                           no_fill_before_.load(std::memory_order_relaxed)) {
    return;
  }
  if (is_full()) {
    const std::lock_guard<std::mutex> guard(mutex_);
    needs_room_ = true;
    wakeup_.notify_one();
    return;
  }
  const uint64_t region = cluster / kClustersPerRegion;
  const MutexLock guard(fill_mutexes_[region % fill_mutexes_.size()]);
  if (evicted_[region].load(std::memory_order_acquire)) {
    return;
  }
  const PlaceLock lock(*file_, cache_format::kFirstRegionLock + region);
  if (!lock) {
    return;  // another process fills it or empties it
  }
  const Result<void> filled =
      fill_locked(region, uint64_t{1} << cluster % kClustersPerRegion, cluster, bytes);
  if (!filled) {
    note_failure(filled.error());
  }
  is_dirty_.store(true, std::memory_order_release);
}

// What says that bytes are lost, or that there is no space; anything else may be our own limit.
void CacheFile::note_failure(const Error& error) {
  if (error.kind != ErrorKind::kSystem || error.error_number == EIO) {
    poison(error.message);
  } else {
    pause_filling(error);
  }
}

void CacheFile::poison(std::string_view why) {
  if (is_useless_.exchange(true)) {
    return;
  }
  const Result<void> written = write_word(cache_format::kPoisonOffset, 1);
  if ((!written || !file_->sync()) && file_->is_named(file_->name())) {
    // Nobody else can be told.  The name goes, at least, so that no other start finds it.
    ::unlink(file_->name().c_str());
  }
  if (options_.log) {
    options_.log(fmt::format("{}: {}; the cache is not used any more", file_->name(), why));
  }
}

// ---- keeping -------------------------------------------------------------------

void CacheFile::flush() {
  const std::lock_guard<std::mutex> guard(keeper_mutex_);
  if (!is_dirty_.exchange(false) || is_poisoned()) {
    return;
  }
  if (const Result<void> flushed = flush_locked(); !flushed) {
    // After a sync that failed nobody knows which bytes are there.
    poison(flushed.error().message);
  }
}

Result<void> CacheFile::flush_locked() {
  const PlaceLock lock(*file_, cache_format::kDurableLock);
  if (!lock) {
    is_dirty_ = true;  // at the next time
    return {};
  }
  std::vector<uint64_t> live(places_.region_count);
  for (uint64_t region = 0; region < places_.region_count; ++region) {
    live[region] = live_of(region).load(std::memory_order_acquire);
  }
  std::vector<uint64_t> durable(places_.region_count);
  UNIONFS_TRY(file_->read(places_.durable_offset, std::as_writable_bytes(std::span(durable))));
  if (live == durable) {
    return {};
  }
  UNIONFS_TRY(file_->sync());
  UNIONFS_TRY(file_->write(places_.durable_offset, std::as_bytes(std::span(live))));
  return file_->sync();
}

// Regions that have something and were not read for the longest time, as far as a bit tells.
std::vector<uint64_t> CacheFile::choose_old(size_t count) {
  std::vector<uint64_t> chosen;
  for (uint64_t seen = 0; seen < 2 * places_.region_count && chosen.size() < count; ++seen) {
    const uint64_t region = hand_;
    hand_ = (hand_ + 1) % places_.region_count;
    if (live_of(region).load(std::memory_order_relaxed) == 0) {
      continue;
    }
    if (clock_of(region) != 0) {
      (void)write_structure(*file_, places_.clocks_offset + region, uint8_t{0});
    } else if (std::find(chosen.begin(), chosen.end(), region) == chosen.end()) {
      chosen.push_back(region);
    }
  }
  return chosen;
}

// Readers that have begun find another generation, and ask the image.  What is durable must have
// gone before the bytes do.
Result<size_t> CacheFile::evict(const std::vector<uint64_t>& regions) {
  std::vector<std::unique_ptr<PlaceLock>> locks;
  std::vector<uint64_t> held;
  Result<void> done;
  for (const uint64_t region : regions) {
    evicted_[region].store(true, std::memory_order_release);
    const MutexLock guard(fill_mutexes_[region % fill_mutexes_.size()]);
    auto lock = std::make_unique<PlaceLock>(*file_, cache_format::kFirstRegionLock + region);
    if (!*lock) {
      evicted_[region].store(false, std::memory_order_release);
      continue;
    }
    locks.push_back(std::move(lock));
    held.push_back(region);
    // Who sees the new generation sees no old bit.
    const uint64_t generation = generation_of(region).load(std::memory_order_relaxed) + 1;
    const uint64_t at = cache_format::kRegionsOffset + region * sizeof(Region);
    done = write_word(at + offsetof(Region, live), 0);
    done = done ? write_word(at + offsetof(Region, generation), generation) : done;
    done = done ? write_word(places_.durable_offset + region * sizeof(uint64_t), 0) : done;
    if (!done) {
      break;
    }
  }
  done = done ? file_->sync() : done;
  const uint64_t region_bytes = cluster_bytes() * kClustersPerRegion;
  for (size_t i = 0; i < held.size(); ++i) {
    if (done) {
      const uint64_t begin = held[i] * region_bytes;
      const uint64_t length = std::min(region_bytes, options_.image_bytes - begin);
      done = file_->punch(place_of(begin), length);
    }
    // A lock of the file does not tell threads of one process apart: it goes before one may fill.
    locks[i].reset();
    evicted_[held[i]].store(false, std::memory_order_release);
  }
  if (!done) {
    return Failure(done.error());
  }
  return held.size();
}

void CacheFile::make_room() {
  const std::lock_guard<std::mutex> guard(keeper_mutex_);
  const PlaceLock lock(*file_, cache_format::kDurableLock);
  // A little more than needed, so that not each cluster takes a sync.
  const uint64_t aim = options_.most_bytes - options_.most_bytes / 16;
  while (lock && !is_poisoned()) {
    const Result<HostSpace> space = file_->space();
    if (!space || space->used_bytes <= aim) {
      return;
    }
    const uint64_t region_bytes = cluster_bytes() * kClustersPerRegion;
    const uint64_t needed = (space->used_bytes - aim + region_bytes - 1) / region_bytes;
    std::vector<uint64_t> old = choose_old(std::min<uint64_t>(needed, kEvictedAtOnce));
    const bool is_last = old.empty();
    if (is_last) {
      old = regions_without_bits();
    }
    const Result<size_t> evicted = evict(old);
    if (!evicted) {
      note_failure(evicted.error());
    }
    if (!evicted || *evicted == 0 || is_last || is_ending()) {
      return;
    }
  }
}

// What a fill or an emptying that was cut off has left takes space, and nobody knows of it.
std::vector<uint64_t> CacheFile::regions_without_bits() const {
  std::vector<uint64_t> regions;
  for (uint64_t region = 0; region < places_.region_count; ++region) {
    if (live_of(region).load(std::memory_order_relaxed) == 0) {
      regions.push_back(region);
    }
  }
  return regions;
}

bool CacheFile::is_ending() {
  const std::lock_guard<std::mutex> guard(mutex_);
  return has_to_stop_;
}

void CacheFile::keep(bool needs_room) {
  try {
    if (needs_room) {
      make_room();
    }
    flush();
  } catch (const std::exception& error) {  // no memory, say: at the next time
    is_dirty_ = true;
  }
}

void CacheFile::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!has_to_stop_) {
    wakeup_.wait_for(lock, options_.flush_period, [this] { return has_to_stop_ || needs_room_; });
    const bool needs_room = std::exchange(needs_room_, false);
    lock.unlock();
    keep(needs_room);
    lock.lock();
  }
  lock.unlock();
  keep(false);
}

}  // namespace unionfs
