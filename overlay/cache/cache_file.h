// SPDX-License-Identifier: BSD-3-Clause
//
// A local file that has those clusters of an image that were read before: for all processes of
// the host that name it, and for the next start.  What is lost of it is read again, so nothing here
// fails: where the file cannot be used any more it says so once in the log, and has nothing from
// then on.
//
// Processes share the bits through the host's page cache, by system calls and a mapping that is
// only read: where a host copies what it overwrites, a store into a mapping may end the process.
#ifndef UNIONFS_OVERLAY_CACHE_CACHE_FILE_H
#define UNIONFS_OVERLAY_CACHE_CACHE_FILE_H

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "overlay/cache/cache_format.h"
#include "overlay/host/log.h"
#include "overlay/host/mutex.h"
#include "overlay/host/posix_file.h"

namespace unionfs {

struct CacheOptions {
  cache_format::Key key = {};         // of the image; a file with another one is made anew
  uint64_t image_bytes = 0;           // at least 1
  uint32_t cluster_bytes = 64 << 10;  // a power of two, at least 4096
  uint64_t most_bytes = 0;            // that the file takes of its host; 0: what there is
  std::chrono::milliseconds flush_period{5'000};
  std::chrono::milliseconds pause_without_space{60'000};  // the first; see pause_filling()
  LogSink log = {};
};

// What is written down in a cache file, of an image of any kind.
struct CacheTrace {
  std::vector<uint64_t> clusters;  // in the order of their first read
  uint64_t cluster_bytes = 0;
  uint64_t image_bytes = 0;
};
// Without a lock; servers may use the file.  kInvalid where it is no cache.
Result<CacheTrace> read_trace_of(const std::string& path);

// Safe for concurrent use by multiple threads.
class CacheFile {
 public:
  static constexpr uint64_t kClustersPerRegion = cache_format::kClustersPerRegion;
  // The least that most_bytes may be, for an image of this size.
  static uint64_t least_bytes(const CacheOptions& options);

  // That the path is that of a cache, or that one may be made there: kInvalid or kSystem if not.
  // Changes nothing.
  static Result<void> check(const std::string& path);
  // Removes what processes that were killed have left in a directory of caches: files that were to
  // become one of those whose names end in ".cache", and that nobody makes any more.
  static void remove_leftovers_in(const std::string& directory);
  // Opens the file or makes it, and starts a thread: to be called after a fork.  Waits up to five
  // seconds for others that open it.  Removes what others that were killed have left of the same.
  static Result<std::unique_ptr<CacheFile>> open(const std::string& path,
                                                 const CacheOptions& options);
  // Makes durable what was filled.
  ~CacheFile();
  CacheFile(const CacheFile&) = delete;
  CacheFile& operator=(const CacheFile&) = delete;

  uint64_t cluster_bytes() const { return options_.cluster_bytes; }
  uint64_t cluster_count() const {
    return (options_.image_bytes + cluster_bytes() - 1) / cluster_bytes();
  }

  // The longest stretch of clusters from `begin` (< end) on, in one region, that are all there or
  // all not.  What is said not to be there may be there meanwhile; of what is there, the bytes
  // count if the generation of its region is the same after they were read.
  struct Run {
    bool is_there = false;
    uint64_t end = 0;
    uint64_t generation = 0;
  };
  Run run_at(uint64_t begin, uint64_t end) const;
  bool is_same_generation(uint64_t cluster, uint64_t generation) const;
  // Where to read the image's byte at `offset`.
  const PosixFile& file() const { return *file_; }
  uint64_t place_of(uint64_t offset) const { return places_.data_offset + offset; }
  // That a region was read.
  void touch(uint64_t cluster);

  // `bytes`: the whole cluster, or all up to the image's end.
  void fill(uint64_t cluster, ConstByteSpan bytes);
  // For all processes and for good: what is in the file may be wrong.  The next start puts another
  // one in its place.
  void poison(std::string_view why);

  // Clusters that were read first when a disk was used before: at most three such lists, joined by
  // when each cluster was read the first time.  Empty if there are none.
  std::vector<uint64_t> read_trace() const;
  // Keeps one more list, in the place of the oldest.  At most kMaxTraced of it are kept.
  void write_trace(const std::vector<uint64_t>& clusters);

  // What the thread does by itself.
  void flush();
  void make_room();
  // Whether the next cluster would need room to be made.
  bool is_full() const;
  // Whether it is of any use to fill more: not while the host has no space, and never again once
  // it is poisoned.
  bool takes_more() const;
  // Until when nothing is filled because the host had no space; nothing where that is not so.
  std::optional<std::chrono::steady_clock::time_point> paused_until() const;
  // For good: nothing is there, and nothing is filled.
  bool is_poisoned() const;
  // Clusters that are there.
  uint64_t count() const;

 private:
  CacheFile(std::unique_ptr<PosixFile> file, const CacheOptions& options);

  static Result<std::unique_ptr<PosixFile>> create(const std::string& path,
                                                   const CacheOptions& options);
  static Result<std::unique_ptr<PosixFile>> open_once(const std::string& path,
                                                      const CacheOptions& options);
  Result<void> map();
  void keep(bool needs_room);
  std::optional<bool> wait_for_work();
  void run();

  const std::byte* section(uint64_t offset) const { return mapping_->bytes().data() + offset; }
  const std::atomic<uint64_t>& word_at(uint64_t offset) const;
  const std::atomic<uint64_t>& generation_of(uint64_t region) const;
  const std::atomic<uint64_t>& live_of(uint64_t region) const;
  uint8_t clock_of(uint64_t region) const;
  Result<void> write_word(uint64_t offset, uint64_t value);
  Result<void> fill_locked(uint64_t region, uint64_t bit, uint64_t cluster, ConstByteSpan bytes);
  Result<void> flush_locked() UNIONFS_REQUIRES(keeper_mutex_);
  // Returns how many could be locked, and are empty.
  Result<size_t> evict(const std::vector<uint64_t>& regions);
  std::vector<uint64_t> regions_without_bits() const;
  bool is_ending();
  void note_failure(const Error& error);
  std::vector<uint64_t> choose_old(size_t count) UNIONFS_REQUIRES(keeper_mutex_);
  // Each time for twice as long, up to an hour, until something could be filled: what is fetched to
  // find out whether there is space is thrown away where there is none.
  void pause_filling(const Error& error);

  const std::unique_ptr<PosixFile> file_;
  const CacheOptions options_;
  const cache_format::Places places_;
  std::unique_ptr<MappedRegion> mapping_;  // of all but the data; only read

  // Threads of this process that fill one region; locks of files do not tell them apart.
  std::array<Mutex, 64> fill_mutexes_;
  std::vector<std::atomic<bool>> evicted_;  // for each region: it is being emptied by this process
  std::atomic<bool> is_useless_{false};     // poisoned by this process, even if nobody else knows
  std::atomic<bool> is_dirty_{false};
  std::atomic<std::chrono::steady_clock::rep> no_fill_before_{0};
  std::atomic<unsigned> pauses_in_a_row_{0};
  std::atomic<bool> has_complained_{false};

  Mutex keeper_mutex_;  // one flush or making of room at a time
  uint64_t hand_ UNIONFS_GUARDED_BY(keeper_mutex_) = 0;

  Mutex mutex_;
  Condition wakeup_;
  bool has_to_stop_ UNIONFS_GUARDED_BY(mutex_) = false;
  bool needs_room_ UNIONFS_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_CACHE_FILE_H
