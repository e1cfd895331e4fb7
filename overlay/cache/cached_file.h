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

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "overlay/cache/boot_trace.h"
#include "overlay/cache/cache_file.h"
#include "overlay/host/batch_reader.h"
#include "overlay/host/file.h"

namespace unionfs {

// A cluster that somebody fetches, and others may wait for.  Who has begun to fetch and not ended
// it waits for nobody, so no two wait for each other.
class ClusterFetch;
class CachedReads;
class Prefetcher;

// Clusters.
struct CacheCounters {
  uint64_t hits = 0;    // that were read of the cache file
  uint64_t misses = 0;  // that were fetched
  uint64_t joined = 0;  // that another one was fetching
  uint64_t ahead = 0;   // that were fetched before anybody asked
};

// Safe for concurrent use by multiple threads, but for use_cache().
class CachedFile final : public ReadableFile {
 public:
  explicit CachedFile(const ReadableFile& origin);
  ~CachedFile() override;

  // Before threads share the file; until then it is the origin.  The cache is of this image.
  void use_cache(std::unique_ptr<CacheFile> cache);
  bool has_cache() const { return cache_ != nullptr; }
  // Afterwards: fetches these clusters in this order, behind what clients ask for, with a thread of
  // its own.  Stops at the first error, and when the cache is full; waits while the host has no
  // space.  Once.
  void fetch_ahead(std::vector<uint64_t> clusters);
  // The first of the clients has come: from now on the order of first reads is written down, see
  // TraceRecorder.  The last one has gone.
  void client_came() const;
  void client_went() const;
  // Before use_cache(): that clusters drawn at random are what the image has now, past all caches:
  // `read_now` fills the buffers with that.  Poisons the cache if one is not.  An error of
  // `read_now` is returned.
  using RangesReader = std::function<Result<void>(std::span<const ReadRange>)>;
  Result<void> compare_samples(CacheFile& cache, const RangesReader& read_now) const;
  // The same of fewer, one after another, and of the cache in use, if there is one: of a connection
  // that was just made.  Also beside use_cache().
  Result<void> compare_samples(const Image& now) const;
  // The image is known to be another one, so nothing that was fetched lately is to be believed.
  void note_difference(const Error& error) const;
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
  friend class Prefetcher;

  // Another thread fetches the cluster: its fetch; else the caller does.
  struct Claim {
    std::shared_ptr<ClusterFetch> fetch;
    bool is_mine = false;
  };
  Claim claim(uint64_t cluster) const;
  void end_fetch(uint64_t cluster, ClusterFetch& fetch) const;
  Result<void> compare_some(CacheFile& cache, const RangesReader& read_now, int samples) const;
  void compare_cluster(CacheFile& cache, uint64_t cluster, ConstByteSpan now) const;
  // Of the cache file this was read.
  void count_hits(uint64_t offset, uint64_t length) const;
  // Clients read of clusters [begin, end).
  void note(uint64_t begin, uint64_t end) const;
  void keep_trace(std::optional<std::vector<uint64_t>> clusters) const;
  bool is_there(uint64_t offset, uint64_t length) const;
  uint64_t end_of_cluster(uint64_t cluster) const;
  uint64_t end_of_read(uint64_t offset, uint64_t length) const;

  const ReadableFile& origin_;
  std::unique_ptr<CacheFile> cache_;
  std::atomic<CacheFile*> compared_{nullptr};  // the same, for compare_samples()
  mutable BatchReader local_;

  mutable Mutex mutex_;
  mutable std::unordered_map<uint64_t, std::shared_ptr<ClusterFetch>> fetches_
      UNIONFS_GUARDED_BY(mutex_);
  mutable std::atomic<uint64_t> hits_{0};
  mutable std::atomic<uint64_t> misses_{0};
  mutable std::atomic<uint64_t> joined_{0};
  mutable std::atomic<uint64_t> ahead_{0};
  mutable std::atomic<uint32_t> waiting_{0};  // requests of clients that wait for the origin
  mutable std::atomic<uint32_t> clients_{0};
  mutable std::unique_ptr<TraceRecorder> recorder_;
  std::unique_ptr<Prefetcher> prefetcher_;  // ends before the rest
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_CACHED_FILE_H
