// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/level_file.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "fsparse/printable.h"
#include "overlay/cache/boot_trace.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/upper/hash.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {
namespace {

// Nobody can say who else may read what a server has.
constexpr uint32_t kModeForRemoteData = 0600;

// Without a cache a start waits for nobody.
constexpr auto kTimeToCompare = std::chrono::seconds(20);

// Bytes that do not change as long as the image is the same.
struct FixedBytes {
  uint64_t offset = 0;
  std::vector<std::byte> bytes;
};

Result<void> add_fixed(const ReadableFile& file, uint64_t offset, size_t length,
                       std::vector<FixedBytes>& fixed) {
  FixedBytes& added = fixed.emplace_back(FixedBytes{offset, std::vector<std::byte>(length)});
  return file.read(offset, added.bytes);
}

Result<void> check_fixed(const std::vector<FixedBytes>& fixed, const Image& now) {
  for (const FixedBytes& then : fixed) {
    std::vector<std::byte> bytes(then.bytes.size());
    UNIONFS_TRY(now.read(then.offset, bytes));
    if (bytes != then.bytes) {
      return invalid("{}: is not as it was: its {} differs", now.name(),
                     then.offset == ext2::kSuperblockOffsetBytes ? "superblock" : "state area");
    }
  }
  return {};
}

Result<void> check_same_lower(const KnownLower& then, const Image& now) {
  UNIONFS_ASSIGN(const Volume volume, Volume::open(now, SuperblockUse::kLower));
  return check_still_same(then, volume);
}

// In their order, those that touch as one.
std::vector<KeptRange> joined(std::vector<KeptRange> ranges) {
  std::ranges::sort(ranges, {}, &KeptRange::begin);
  std::vector<KeptRange> joined;
  for (const KeptRange& range : ranges) {
    if (!joined.empty() && range.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

// Bitmaps and inode tables, which clients read in small pieces.
std::vector<KeptRange> metadata_of(const Volume& volume) {
  const Layout& layout = volume.layout();
  const uint64_t block_bytes = layout.block_size_bytes;
  std::vector<KeptRange> ranges;
  const auto add = [&](BlockNumber begin, uint64_t blocks) {
    const uint64_t offset = begin.value() * block_bytes;
    ranges.push_back({offset, offset + blocks * block_bytes});
  };
  for (const Group& group : volume.groups()) {
    add(group.block_bitmap, 1);
    add(group.inode_bitmap, 1);
    add(group.inode_table, layout.inode_table_block_count());
  }
  return joined(std::move(ranges));
}

std::vector<KeptRange> bitmaps_of(const Volume& volume) {
  const uint64_t block_bytes = volume.layout().block_size_bytes;
  std::vector<KeptRange> ranges;
  for (const Group& group : volume.groups()) {
    for (const BlockNumber block : {group.block_bitmap, group.inode_bitmap}) {
      ranges.push_back({block.value() * block_bytes, (block.value() + 1) * block_bytes});
    }
  }
  return joined(std::move(ranges));
}

// Of a directory of caches.
std::string path_in(const std::string& directory, const cache_format::Key& key) {
  const std::string_view slash = directory.ends_with('/') ? "" : "/";
  return fmt::format("{}{}{}.cache", directory, slash, hex_text(key));
}

}  // namespace

Result<std::unique_ptr<LevelFile>> LevelFile::open(const std::string& path, FileLock lock,
                                                   const RemoteOptions& remote,
                                                   const LogSink& log) {
  if (is_nbd_uri(path)) {
    UNIONFS_ASSIGN(auto file, RemoteFile::open(path, remote, log));
    return std::unique_ptr<LevelFile>(new LevelFile(std::move(file)));
  }
  UNIONFS_ASSIGN(auto file, PosixFile::open(path, lock));
  return std::make_unique<LevelFile>(std::move(file));
}

LevelFile::LevelFile(std::unique_ptr<RemoteFile> file)
    : remote_(std::move(file)), cached_(std::make_unique<CachedFile>(*remote_)) {}

LevelFile::~LevelFile() {
  if (is_remote()) {
    remote_->give_up();  // what is fetched ahead is not waited for
  }
}

const ReadableFile& LevelFile::bytes() const {
  if (cached_ != nullptr) {
    return *cached_;
  }
  return *host_;
}

bool LevelFile::is_same_file(const LevelFile& other) const {
  if (is_remote() || other.is_remote()) {
    return is_remote() && other.is_remote() && location() == other.location();
  }
  return host_->is_same_file(*other.host_);
}

uint32_t LevelFile::mode_for_data_in(const PosixFile& upper) const {
  return is_remote() ? kModeForRemoteData : upper.mode_for_data_of(*host_);
}

Result<void> LevelFile::know_as_lower(const Volume& lower) {
  if (!is_remote()) {
    return {};
  }
  const KnownLower known = known_lower(lower);
  const ConstByteSpan identity = bytes_of(known.identity);
  identity_.assign(identity.begin(), identity.end());
  digested_ = bitmaps_of(lower);
  compare_by([known](const Image& now) { return check_same_lower(known, now); });
  remote_->keep_in_memory(metadata_of(lower));
  return {};
}

// And what the cache has is still the same.
void LevelFile::compare_by(SameImageCheck check) {
  remote_->compare_by([this, check = std::move(check)](const Image& now) -> Result<void> {
    const Result<void> same = check(now);
    if (!same && same.error().kind != ErrorKind::kSystem) {
      cached_->note_difference(same.error());
    }
    return same ? cached_->compare_samples(now) : same;
  });
}

// The header has digests of all that is sealed.
Result<void> LevelFile::know_as_layer(const Volume& layer, const StateArea& area) {
  if (!is_remote()) {
    return {};
  }
  std::vector<FixedBytes> fixed;
  UNIONFS_TRY(add_fixed(*remote_, ext2::kSuperblockOffsetBytes, sizeof(ext2::Superblock), fixed));
  UNIONFS_TRY(add_fixed(*remote_, area.offset,
                        upper_format::kHeaderSlots * upper_format::kPageBytes, fixed));
  for (const FixedBytes& range : fixed) {
    digested_.push_back({range.offset, range.offset + range.bytes.size()});
  }
  compare_by([then = std::move(fixed)](const Image& now) { return check_fixed(then, now); });
  remote_->keep_in_memory(metadata_of(layer));
  return {};
}

void LevelFile::suspend() {
  if (is_remote() && !has_started_) {
    remote_->suspend();
  }
}

void LevelFile::start() {
  if (is_remote() && !std::exchange(has_started_, true)) {
    remote_->start();
  }
}

void LevelFile::end_soon() const {
  if (is_remote()) {
    remote_->end_soon();
  }
}

// ---- what is kept on the host ------------------------------------------------------

LevelCache LevelCache::of_layer() const {
  LevelCache cache = *this;
  if (prefetch == Prefetch::kList) {
    cache.prefetch = Prefetch::kAuto;
    cache.list_path.clear();
  }
  return cache;
}

CacheOptions LevelFile::cache_options(const LevelCache& cache, const LogSink& log) const {
  CacheOptions options;
  options.image_bytes = remote_->size_bytes();
  options.cluster_bytes = std::max(options.cluster_bytes, remote_->about().minimum_bytes);
  options.most_bytes = cache.most_bytes;
  options.log = log;
  return options;
}

Result<void> LevelFile::check_cache(const LevelCache& cache) const {
  if (!is_remote()) {
    return invalid("{}: is a file of this host, and needs no cache", name());
  }
  const uint64_t least = CacheFile::least_bytes(cache_options(cache, {}));
  if (cache.most_bytes != 0 && cache.most_bytes < least) {
    return invalid("cache-size={}: a cache of {} takes {} bytes at least", cache.most_bytes, name(),
                   least);
  }
  UNIONFS_TRY(CacheFile::check(cache.is_directory ? path_in(cache.path, {}) : cache.path));
  if (cache.prefetch == LevelCache::Prefetch::kList) {
    UNIONFS_TRY(read_trace_list(cache.list_path, cache_options(cache, {}).cluster_bytes,
                                remote_->size_bytes()));
  }
  return {};
}

// What makes two images that are not the same differ, as far as a few megabytes can tell.
Result<cache_format::Key> LevelFile::cache_key(const LevelCache& cache) const {
  std::vector<std::vector<std::byte>> digested;
  std::vector<ReadRange> ranges;
  for (const KeptRange& range : digested_) {
    ranges.push_back({remote_.get(), range.begin, digested.emplace_back(range.end - range.begin)});
  }
  UNIONFS_TRY(remote_->read_uncached(ranges, kTimeToCompare));
  LongHash hash;
  // Who may choose an address of a host must not choose what others read from another one.
  const std::string source = cache.is_directory && cache.id.empty() ? location() : "";
  for (const std::string& word : {remote_->about().name, cache.id, source}) {
    hash.add(bytes_of(Le64(word.size())));
    hash.add(std::string_view(word));
  }
  hash.add(bytes_of(Le64(remote_->size_bytes())));
  hash.add(ConstByteSpan(identity_));
  for (const std::vector<std::byte>& bytes : digested) {
    hash.add(ConstByteSpan(bytes));
  }
  return hash.value();
}

Result<std::vector<uint64_t>> LevelFile::clusters_ahead(const LevelCache& cache,
                                                        const CacheFile& file) const {
  switch (cache.prefetch) {
    case LevelCache::Prefetch::kAuto:
      return file.read_trace();
    case LevelCache::Prefetch::kList:
      return read_trace_list(cache.list_path, file.cluster_bytes(), remote_->size_bytes());
    case LevelCache::Prefetch::kOff:
      break;
  }
  return std::vector<uint64_t>();
}

Result<void> LevelFile::open_cache(const LevelCache& cache, const LogSink& log) {
  CacheOptions options = cache_options(cache, log);
  UNIONFS_ASSIGN(options.key, cache_key(cache));
  const std::string path = cache.is_directory ? path_in(cache.path, options.key) : cache.path;
  UNIONFS_ASSIGN(auto file, CacheFile::open(path, options));
  if (cache.is_directory) {
    log(fmt::format("{}: what is read of it is kept in {}", name(), path));
  }
  UNIONFS_TRY(cached_->compare_samples(*file, [this](std::span<const ReadRange> ranges) {
    return remote_->read_uncached(ranges, kTimeToCompare);
  }));
  Result<std::vector<uint64_t>> ahead = clusters_ahead(cache, *file);
  cached_->use_cache(std::move(file));
  if (!ahead) {
    log(fmt::format("{}; nothing is fetched ahead", ahead.error().message));
    return {};
  }
  cached_->fetch_ahead(*std::move(ahead));
  return {};
}

void LevelFile::use_cache(const LevelCache& cache, const LogSink& log) {
  if (cache.path.empty() || !is_remote()) {
    return;
  }
  std::string why;
  try {
    const Result<void> opened = open_cache(cache, log);
    why = opened ? "" : opened.error().message;
  } catch (const std::exception& error) {  // no memory or no thread: the disk goes without
    why = error.what();
  }
  if (!why.empty() && !cached_->has_cache()) {
    log(fmt::format("{}: {}; it is read without a cache", name(), why));
  }
}

void LevelFile::client_came() const {
  if (cached_ != nullptr) {
    cached_->client_came();
  }
}

void LevelFile::client_went() const {
  if (cached_ != nullptr) {
    cached_->client_went();
  }
}

CacheCounters LevelFile::cache_counters() const {
  return cached_ != nullptr ? cached_->counters() : CacheCounters();
}

}  // namespace unionfs
