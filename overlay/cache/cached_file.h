// SPDX-License-Identifier: BSD-3-Clause
//
// A file that is far away, with a CacheFile of the host before it.  What is missing is fetched in
// whole clusters, each once however many threads ask for it.
//
//     read ──► clusters that are there ──► cache file (one batch)
//         └──► clusters that are not  ──► origin ──► answer, and fill()
//
// A bit in the cache file may go at any moment, because somebody makes room: what was read of it
// counts only if the generation of the region is the same afterwards.  Else the origin is asked.
#ifndef UNIONFS_OVERLAY_CACHE_CACHED_FILE_H
#define UNIONFS_OVERLAY_CACHE_CACHED_FILE_H

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "overlay/cache/cache_file.h"
#include "overlay/host/batch_reader.h"
#include "overlay/host/file.h"

namespace unionfs {

// A cluster that somebody fetches, and others may wait for.  The one who fetches brings it to its
// end by himself and waits for nobody meanwhile, so no two wait for each other.
class ClusterFetch;

struct CacheCounters {
  uint64_t hits = 0;    // clusters that were read of the cache file
  uint64_t misses = 0;  // clusters that were fetched
  uint64_t joined = 0;  // clusters that another one was fetching
};

// Safe for concurrent use by multiple threads, but for use_cache().
class CachedFile final : public ReadableFile {
 public:
  explicit CachedFile(const ReadableFile& origin);
  ~CachedFile() override;

  // Before threads share the file; until then it is the origin.  The cache is of this image.
  void use_cache(std::unique_ptr<CacheFile> cache) { cache_ = std::move(cache); }
  bool has_cache() const { return cache_ != nullptr; }
  // That clusters drawn at random are what `now` has, which is the image past all caches.  Poisons
  // the cache if one is not.  An error of `now` is returned.
  Result<void> compare_samples(const Image& now) const;
  CacheCounters counters() const;

  const std::string& name() const override { return origin_.name(); }
  uint64_t size_bytes() const override { return origin_.size_bytes(); }
  Result<void> read(uint64_t offset, ByteSpan buffer) const override;
  size_t read_cached(uint64_t offset, ByteSpan buffer) const override;
  void read_cached_ranges(std::span<ReadRange> ranges) const override;
  std::unique_ptr<PendingReads> begin_reads(std::span<const ReadRange> ranges) const override;
  FileExtent extent_at(uint64_t offset) const override { return origin_.extent_at(offset); }
  Result<void> check_same() const override { return origin_.check_same(); }
  Result<void> check_not_replaced() const override { return origin_.check_not_replaced(); }
  void prefetch(uint64_t offset, uint64_t length) const override;

 private:
  friend class CachedReads;

  // Another thread fetches the cluster: its fetch; else the caller does.
  struct Claim {
    std::shared_ptr<ClusterFetch> fetch;
    bool is_mine = false;
  };
  Claim claim(uint64_t cluster) const;
  void end_fetch(uint64_t cluster, ClusterFetch& fetch, std::optional<Error> error) const;
  std::optional<uint64_t> draw_cluster(std::mt19937_64& random) const;
  Result<void> compare_cluster(uint64_t cluster, const Image& now) const;
  bool is_there(uint64_t offset, uint64_t length) const;
  uint64_t end_of_cluster(uint64_t cluster) const;

  const ReadableFile& origin_;
  std::unique_ptr<CacheFile> cache_;
  mutable BatchReader local_;

  mutable Mutex mutex_;
  mutable std::unordered_map<uint64_t, std::shared_ptr<ClusterFetch>> fetches_
      UNIONFS_GUARDED_BY(mutex_);
  mutable std::atomic<uint64_t> hits_{0};
  mutable std::atomic<uint64_t> misses_{0};
  mutable std::atomic<uint64_t> joined_{0};
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_CACHED_FILE_H
