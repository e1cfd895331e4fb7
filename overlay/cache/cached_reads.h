// SPDX-License-Identifier: BSD-3-Clause
//
// The ranges of one request to a CachedFile.
#ifndef UNIONFS_OVERLAY_CACHE_CACHED_READS_H
#define UNIONFS_OVERLAY_CACHE_CACHED_READS_H

#include <memory>
#include <vector>

#include "overlay/cache/cached_file.h"

namespace unionfs {

class ClusterFetch {
 public:
  // Waits for the end of the fetch, or until what this thread waits for is cancelled.  Whether it
  // went well says the cache.
  void wait() UNIONFS_EXCLUDES(mutex_);
  void end() UNIONFS_EXCLUDES(mutex_);

 private:
  Mutex mutex_;
  Condition ended_;
  bool has_ended_ UNIONFS_GUARDED_BY(mutex_) = false;
};

// One thread.  In its order: add() for each range, send(), finish().
class CachedReads final : public PendingReads {
 public:
  // For a client who waits, or ahead: then only what nobody has and nobody fetches is fetched.
  enum class Purpose : uint8_t { kClient, kAhead };
  explicit CachedReads(const CachedFile& file, Purpose purpose = Purpose::kClient);
  // Fetches that nobody finished are over, without their bytes.
  ~CachedReads() override;

  // Inside the file.
  void add(const ReadRange& range);
  // Asks the origin for all that has to be fetched, and waits for nothing.
  void send();
  Result<void> finish() override;

 private:
  // A part of one cluster that the client wants.
  struct Part {
    uint64_t offset = 0;
    ByteSpan buffer;
  };
  // Of the cache file, if the generation stays.
  struct Local {
    uint64_t cluster = 0;  // the first one
    uint64_t generation = 0;
    Part part;
  };
  struct Fetched {
    uint64_t cluster = 0;
    std::shared_ptr<ClusterFetch> fetch;
    Part part;
    ByteSpan bytes;  // where the whole cluster goes: a part of the buffer, or memory of our own
    bool has_ended = false;
  };
  struct Joined {
    uint64_t cluster = 0;
    std::shared_ptr<ClusterFetch> fetch;
    Part part;
  };

  void forget_begun();
  void add_missing(uint64_t cluster, const Part& part);
  void join_neighbours();
  Result<void> read_local();
  Result<void> receive();
  Result<void> end_fetches(const Result<void>& received);
  void wait_for_others();
  bool read_of_cache(const Part& part) const;
  // What is not to be had otherwise.
  Result<void> read_late();

  const CachedFile& file_;
  const bool is_ahead_;
  bool has_begun_ = false;      // fetches, and not ended them
  bool is_waited_for_ = false;  // by a client, and it is counted
  std::vector<Local> local_;
  std::vector<Fetched> fetched_;
  std::vector<Joined> joined_;
  std::vector<Part> unkept_;  // fetched as they are, because the cache takes nothing
  std::vector<Part> late_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<ReadRange> sent_;
  std::unique_ptr<PendingReads> pending_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_CACHED_READS_H
