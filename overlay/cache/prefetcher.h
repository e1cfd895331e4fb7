// SPDX-License-Identifier: BSD-3-Clause
//
// Fetches clusters that will be asked for, with a thread of its own: two batches at a time, so that
// the link is not idle for a round trip; a small one while a client waits.  While nothing can be
// kept, because the host has no space, it waits.
#ifndef UNIONFS_OVERLAY_CACHE_PREFETCHER_H
#define UNIONFS_OVERLAY_CACHE_PREFETCHER_H

#include <memory>
#include <thread>
#include <vector>

#include "overlay/cache/cached_file.h"
#include "overlay/host/mutex.h"

namespace unionfs {

class Prefetcher {
 public:
  // Clusters of the file's, which outlives it.
  Prefetcher(const CachedFile& file, std::vector<uint64_t> clusters);
  // Waits for what is in flight.
  ~Prefetcher();
  Prefetcher(const Prefetcher&) = delete;
  Prefetcher& operator=(const Prefetcher&) = delete;

 private:
  // Clusters in flight, and where they go.
  struct Batch {
    std::vector<std::byte> memory;
    std::unique_ptr<CachedReads> reads;  // ends before the memory
  };

  void run();
  bool fetch_missing();
  bool wait_while_paused();
  bool has_to_stop();
  size_t batch_size() const;
  std::unique_ptr<Batch> begin_batch();

  const CachedFile& file_;
  const std::vector<uint64_t> clusters_;
  size_t next_ = 0;
  Mutex mutex_;
  Condition wakeup_;
  bool has_to_stop_ UNIONFS_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_PREFETCHER_H
