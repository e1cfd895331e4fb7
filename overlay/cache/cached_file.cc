// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/cached_file.h"

#include <algorithm>
#include <random>
#include <utility>

#include "overlay/cache/cached_reads.h"
#include "overlay/cache/prefetcher.h"

namespace unionfs {
namespace {

constexpr int kSamplesOfStart = 16;
// There are several connections, and each read waits for the one before it.
constexpr int kSamplesOfConnection = 4;
constexpr uint64_t kMostTracedBytes = uint64_t{256} << 20;

// Of the clusters that are there, each as likely as the others; some perhaps twice.
std::vector<uint64_t> draw_clusters(const CacheFile& cache, int samples) {
  std::vector<uint64_t> clusters;
  const uint64_t there = cache.count();
  if (there == 0) {
    return clusters;
  }
  std::mt19937_64 random(std::random_device{}());
  std::vector<uint64_t> places;
  for (int sample = 0; sample < samples; ++sample) {
    places.push_back(random() % there);
  }
  std::sort(places.begin(), places.end());
  uint64_t before = 0;
  auto next = places.begin();
  for (uint64_t at = 0; at < cache.cluster_count() && next != places.end();) {
    const CacheFile::Run run = cache.run_at(at, cache.cluster_count());
    const uint64_t length = run.is_there ? run.end - at : 0;
    for (; next != places.end() && *next < before + length; ++next) {
      clusters.push_back(at + (*next - before));
    }
    before += length;
    at = run.end;
  }
  return clusters;
}

}  // namespace

CachedFile::CachedFile(const ReadableFile& origin) : origin_(origin) {}

CachedFile::~CachedFile() {
  prefetcher_.reset();
  if (recorder_ != nullptr) {
    keep_trace(recorder_->end());
  }
}

void CachedFile::use_cache(std::unique_ptr<CacheFile> cache) {
  cache_ = std::move(cache);
  recorder_ = std::make_unique<TraceRecorder>(
      cache_->cluster_count(),
      std::min(cache_format::kMaxTraced, kMostTracedBytes / cache_->cluster_bytes()));
  compared_.store(cache_.get(), std::memory_order_release);
}

void CachedFile::fetch_ahead(std::vector<uint64_t> clusters) {
  if (cache_ != nullptr && prefetcher_ == nullptr && !clusters.empty()) {
    prefetcher_ = std::make_unique<Prefetcher>(*this, std::move(clusters));
  }
}

void CachedFile::client_came() const {
  if (recorder_ != nullptr && clients_.fetch_add(1) == 0) {
    recorder_->begin();
  }
}

void CachedFile::client_went() const {
  if (recorder_ != nullptr && clients_.fetch_sub(1) == 1) {
    keep_trace(recorder_->end());
  }
}

void CachedFile::note(uint64_t begin, uint64_t end) const {
  for (uint64_t cluster = begin; recorder_->is_active() && cluster < end; ++cluster) {
    keep_trace(recorder_->note(cluster));
  }
}

void CachedFile::keep_trace(std::optional<std::vector<uint64_t>> clusters) const {
  if (clusters && !clusters->empty()) {
    cache_->write_trace(*clusters);
  }
}

CacheCounters CachedFile::counters() const {
  return {hits_.load(std::memory_order_relaxed), misses_.load(std::memory_order_relaxed),
          joined_.load(std::memory_order_relaxed), ahead_.load(std::memory_order_relaxed)};
}

uint64_t CachedFile::end_of_cluster(uint64_t cluster) const {
  return std::min((cluster + 1) * cache_->cluster_bytes(), size_bytes());
}

void CachedFile::count_hits(uint64_t offset, uint64_t length) const {
  if (length > 0) {
    const uint64_t size = cache_->cluster_bytes();
    hits_.fetch_add((offset + length - 1) / size - offset / size + 1, std::memory_order_relaxed);
  }
}

// ---- fetches -------------------------------------------------------------------

CachedFile::Claim CachedFile::claim(uint64_t cluster) const {
  const MutexLock lock(mutex_);
  std::shared_ptr<ClusterFetch>& fetch = fetches_[cluster];
  const bool is_mine = fetch == nullptr;
  if (is_mine) {
    fetch = std::make_shared<ClusterFetch>();
  }
  return {fetch, is_mine};
}

void CachedFile::end_fetch(uint64_t cluster, ClusterFetch& fetch) const {
  {
    const MutexLock lock(mutex_);
    fetches_.erase(cluster);
  }
  fetch.end();
}

// ---- reading -------------------------------------------------------------------

Result<void> CachedFile::read(uint64_t offset, ByteSpan buffer) const {
  const bool is_inside = offset <= size_bytes() && buffer.size() <= size_bytes() - offset;
  if (cache_ == nullptr || !is_inside || buffer.empty()) {
    return origin_.read(offset, buffer);
  }
  UNIONFS_TRY(origin_.check_not_replaced());
  if (!cache_->takes_more() && !is_there(offset, buffer.size())) {
    // The origin may keep in memory what the program itself reads.
    note(offset / cache_->cluster_bytes(), end_of_read(offset, buffer.size()));
    return origin_.read(offset, buffer);
  }
  CachedReads reads(*this);
  reads.add({this, offset, buffer});
  reads.send();
  return reads.finish();
}

std::unique_ptr<PendingReads> CachedFile::begin_reads(std::span<const ReadRange> ranges) const {
  if (cache_ == nullptr) {
    return origin_.begin_reads(ranges);
  }
  const bool is_inside = std::all_of(ranges.begin(), ranges.end(), [this](const ReadRange& range) {
    return range.offset <= size_bytes() && range.buffer.size() <= size_bytes() - range.offset;
  });
  if (!is_inside || !origin_.check_not_replaced()) {
    return nullptr;  // read() says why
  }
  auto reads = std::make_unique<CachedReads>(*this);
  for (const ReadRange& range : ranges) {
    reads->add(range);
  }
  reads->send();
  return reads;
}

size_t CachedFile::read_cached(uint64_t offset, ByteSpan buffer) const {
  if (cache_ == nullptr) {
    return origin_.read_cached(offset, buffer);
  }
  if (!origin_.check_not_replaced()) {
    return 0;
  }
  const uint64_t size = cache_->cluster_bytes();
  size_t done = 0;
  while (done < buffer.size()) {
    const uint64_t at = offset + done;
    const uint64_t end_cluster = (offset + buffer.size() + size - 1) / size;
    const CacheFile::Run run = cache_->run_at(at / size, end_cluster);
    const ByteSpan piece =
        buffer.subspan(done, std::min<uint64_t>(buffer.size() - done, run.end * size - at));
    size_t count = 0;
    if (run.is_there) {
      count = cache_->file().read_cached(cache_->place_of(at), piece);
      if (!cache_->is_same_generation(at / size, run.generation)) {
        return done;
      }
      note(at / size, (at + count + size - 1) / size);
      cache_->touch(at / size);
      count_hits(at, count);
    } else {
      count = origin_.read_cached(at, piece);
    }
    done += count;
    if (count < piece.size()) {
      break;
    }
  }
  return done;
}

// The first cluster behind it.
uint64_t CachedFile::end_of_read(uint64_t offset, uint64_t length) const {
  return (offset + length + cache_->cluster_bytes() - 1) / cache_->cluster_bytes();
}

bool CachedFile::is_there(uint64_t offset, uint64_t length) const {
  const uint64_t end = end_of_read(offset, length);
  const CacheFile::Run run = cache_->run_at(offset / cache_->cluster_bytes(), end);
  return run.is_there && run.end == end;
}

// As many as lie in one region and are there go to the cache file together, which reads them with
// few calls.
void CachedFile::read_cached_ranges(std::span<ReadRange> ranges) const {
  if (cache_ == nullptr) {
    origin_.read_cached_ranges(ranges);
    return;
  }
  const uint64_t region_bytes = cache_->cluster_bytes() * CacheFile::kClustersPerRegion;
  const bool is_same = origin_.check_not_replaced().has_value();
  std::vector<ReadRange> local;
  for (size_t i = 0; i < ranges.size();) {
    const uint64_t cluster = ranges[i].offset / cache_->cluster_bytes();
    const uint64_t region = ranges[i].offset / region_bytes;
    const uint64_t generation = cache_->run_at(cluster, cluster + 1).generation;
    local.clear();
    for (size_t k = i; k < ranges.size() && is_same && ranges[k].offset / region_bytes == region &&
                       is_there(ranges[k].offset, ranges[k].buffer.size());
         ++k) {
      local.push_back({&cache_->file(), cache_->place_of(ranges[k].offset), ranges[k].buffer});
    }
    if (local.empty()) {
      ranges[i].advance(read_cached(ranges[i].offset, ranges[i].buffer));
      ++i;
      continue;
    }
    cache_->file().read_cached_ranges(local);
    const bool counts = cache_->is_same_generation(cluster, generation);
    for (const ReadRange& read : local) {
      if (counts) {
        count_hits(ranges[i].offset, ranges[i].buffer.size() - read.buffer.size());
        note(ranges[i].offset / cache_->cluster_bytes(),
             (ranges[i].offset + ranges[i].buffer.size() - 1) / cache_->cluster_bytes() + 1);
        ranges[i].advance(ranges[i].buffer.size() - read.buffer.size());
      }
      ++i;
    }
    cache_->touch(cluster);
  }
}

void CachedFile::prefetch(uint64_t offset, uint64_t length) const {
  if (cache_ == nullptr || length == 0 || offset >= size_bytes()) {
    origin_.prefetch(offset, length);
    return;
  }
  if (is_there(offset, std::min(length, size_bytes() - offset))) {
    cache_->file().prefetch(cache_->place_of(offset), length);
  }
}

// ---- the same image ------------------------------------------------------------

void CachedFile::compare_cluster(CacheFile& cache, uint64_t cluster, ConstByteSpan now) const {
  const uint64_t begin = cluster * cache.cluster_bytes();
  std::vector<std::byte> ours(now.size());
  const CacheFile::Run run = cache.run_at(cluster, cluster + 1);
  const Result<void> read = cache.file().read(cache.place_of(begin), ours);
  const bool is_same = read && same_bytes(ours, now);
  if (run.is_there && !is_same && cache.is_same_generation(cluster, run.generation)) {
    cache.poison(fmt::format("{} has something else at offset {}", name(), begin));
  }
}

Result<void> CachedFile::compare_samples(CacheFile& cache, const RangesReader& read_now) const {
  return compare_some(cache, read_now, kSamplesOfStart);
}

Result<void> CachedFile::compare_some(CacheFile& cache, const RangesReader& read_now,
                                      int samples) const {
  const std::vector<uint64_t> clusters = draw_clusters(cache, samples);
  std::vector<std::vector<std::byte>> now;
  std::vector<ReadRange> ranges;
  for (const uint64_t cluster : clusters) {
    const uint64_t begin = cluster * cache.cluster_bytes();
    now.emplace_back(std::min(cache.cluster_bytes(), size_bytes() - begin));
    ranges.push_back({this, begin, now.back()});
  }
  UNIONFS_TRY(read_now(ranges));
  for (size_t i = 0; i < clusters.size(); ++i) {
    compare_cluster(cache, clusters[i], now[i]);
  }
  return {};
}

void CachedFile::note_difference(const Error& error) const {
  if (CacheFile* const cache = compared_.load(std::memory_order_acquire); cache != nullptr) {
    cache->poison(error.message);
  }
}

Result<void> CachedFile::compare_samples(const Image& now) const {
  CacheFile* const cache = compared_.load(std::memory_order_acquire);
  if (cache == nullptr) {
    return {};
  }
  const auto read_now = [&now](std::span<const ReadRange> ranges) -> Result<void> {
    for (const ReadRange& range : ranges) {
      UNIONFS_TRY(now.read(range.offset, range.buffer));
    }
    return {};
  };
  return compare_some(*cache, read_now, kSamplesOfConnection);
}

}  // namespace unionfs
