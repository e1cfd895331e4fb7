// SPDX-License-Identifier: BSD-3-Clause
//
// What a disk reads first of a file that is far away: written down while it boots, and fetched
// ahead the next time.
#ifndef UNIONFS_OVERLAY_CACHE_BOOT_TRACE_H
#define UNIONFS_OVERLAY_CACHE_BOOT_TRACE_H

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fsparse/result.h"
#include "overlay/host/clock.h"
#include "overlay/host/mutex.h"

namespace unionfs {

// Clusters in the order of their first read.  It begins when the first client comes, and ends at
// the first of: 10 seconds without a new cluster after at least 20, and a sixteenth of the clusters
// that are kept; 120 seconds; as many clusters as are kept; the last client has gone.  Safe for
// concurrent use by multiple threads.
class TraceRecorder {
 public:
  // `clock` outlives it.
  TraceRecorder(uint64_t cluster_count, size_t most_clusters, Clock& clock = steady_clock());

  void begin();
  // Whether note() is of any use.
  bool is_active() const { return is_active_.load(std::memory_order_relaxed); }
  // A client has read of the cluster.  Returns the list, if this was its end.
  std::optional<std::vector<uint64_t>> note(uint64_t cluster);
  // The list, if it is not over yet; nothing if it was too short a run to tell anything.
  std::optional<std::vector<uint64_t>> end();

 private:
  std::optional<std::vector<uint64_t>> end_locked() UNIONFS_REQUIRES(mutex_);

  const uint64_t cluster_count_;
  const size_t most_clusters_;
  Clock& clock_;
  std::atomic<bool> is_active_{false};
  Mutex mutex_;
  bool has_begun_ UNIONFS_GUARDED_BY(mutex_) = false;  // once, but for runs that were too short
  Clock::TimePoint begun_at_ UNIONFS_GUARDED_BY(mutex_);
  Clock::TimePoint last_new_at_ UNIONFS_GUARDED_BY(mutex_);
  std::vector<bool> seen_ UNIONFS_GUARDED_BY(mutex_);
  std::vector<uint64_t> clusters_ UNIONFS_GUARDED_BY(mutex_);
};

// A trace as text, so that it can be shipped with an image: a line "OFFSET LENGTH" in bytes for
// each stretch; what follows a # is a comment.
std::string trace_text(const std::vector<uint64_t>& clusters, uint64_t cluster_bytes,
                       uint64_t image_bytes);
// kInvalid, with the number of the line, where it is none.  Clusters that lie in the image, each
// once; `name` is the file's.
Result<std::vector<uint64_t>> parse_trace(std::string_view text, const std::string& name,
                                          uint64_t cluster_bytes, uint64_t image_bytes);

// The same of a file of the host, of at most 64 MiB.
Result<std::vector<uint64_t>> read_trace_list(const std::string& path, uint64_t cluster_bytes,
                                              uint64_t image_bytes);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CACHE_BOOT_TRACE_H
