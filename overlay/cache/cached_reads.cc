// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/cached_reads.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// Requests of this thread that have begun fetches and not ended them.  Between beginning and
// finishing a thread may read more, for what it computes meanwhile.
thread_local unsigned begun_fetches = 0;

}  // namespace

void ClusterFetch::wait() {
  const std::atomic<bool>* const is_cancelled = CancellableWaits::current();
  const MutexLock lock(mutex_);
  while (!has_ended_ && is_cancelled == nullptr) {
    ended_.wait(mutex_);
  }
  while (!has_ended_ && !is_cancelled->load(std::memory_order_relaxed)) {
    (void)ended_.wait_until(mutex_, std::chrono::steady_clock::now() + kLookAtCancellation);
  }
}

void ClusterFetch::end() {
  const MutexLock lock(mutex_);
  has_ended_ = true;
  ended_.notify_all();
}

CachedReads::CachedReads(const CachedFile& file, Purpose purpose)
    : file_(file), is_ahead_(purpose == Purpose::kAhead) {}

CachedReads::~CachedReads() {
  pending_.reset();
  forget_begun();
  if (is_waited_for_) {
    --file_.waiting_;
  }
  for (Fetched& fetched : fetched_) {
    if (!fetched.has_ended) {
      file_.end_fetch(fetched.cluster, *fetched.fetch);
    }
  }
}

void CachedReads::add(const ReadRange& range) {
  const uint64_t size = file_.cache_->cluster_bytes();
  const uint64_t end = range.offset + range.buffer.size();
  const uint64_t end_cluster = (end + size - 1) / size;
  for (uint64_t at = range.offset; at < end;) {
    const CacheFile::Run run = file_.cache_->run_at(at / size, end_cluster);
    // What is missing goes cluster by cluster.
    const uint64_t last = run.is_there ? run.end : at / size + 1;
    const uint64_t part_end = std::min(end, last * size);
    const Part part = {at, range.buffer.subspan(at - range.offset, part_end - at)};
    if (!is_ahead_) {
      file_.note(at / size, last);
    }
    if (run.is_there && !is_ahead_) {
      local_.push_back({at / size, run.generation, part});
    } else if (!run.is_there) {
      add_missing(at / size, part);
    }
    at = part_end;
  }
}

void CachedReads::add_missing(uint64_t cluster, const Part& part) {
  // Two ranges of a request may lie in one cluster.
  const auto same = std::find_if(fetched_.rbegin(), fetched_.rend(),
                                 [cluster](const Fetched& f) { return f.cluster == cluster; });
  if (same != fetched_.rend()) {
    late_.push_back(part);
    return;
  }
  const FileExtent extent = file_.origin_.extent_at(cluster * file_.cache_->cluster_bytes());
  if (extent.is_hole && extent.end >= file_.end_of_cluster(cluster)) {
    std::fill(part.buffer.begin(), part.buffer.end(), std::byte{0});
    return;
  }
  if (!file_.cache_->takes_more()) {
    if (!is_ahead_) {
      unkept_.push_back(part);
    }
    return;
  }
  // Whatever needs memory comes before the claim, which nobody else can end.
  const uint64_t begin = cluster * file_.cache_->cluster_bytes();
  const uint64_t length = file_.end_of_cluster(cluster) - begin;
  std::vector<std::byte> memory(part.buffer.size() == length ? 0 : length);
  fetched_.reserve(fetched_.size() + 1);
  memory_.reserve(memory_.size() + 1);
  CachedFile::Claim claim = file_.claim(cluster);
  if (!claim.is_mine && is_ahead_) {
    return;
  }
  if (!claim.is_mine && begun_fetches > 0) {
    // Perhaps our own, or that of somebody who waits for ours.
    late_.push_back(part);
    return;
  }
  if (!claim.is_mine) {
    joined_.push_back({cluster, std::move(claim.fetch), part});
    return;
  }
  Fetched fetched = {cluster, std::move(claim.fetch), part, part.buffer};
  if (!memory.empty()) {
    fetched.bytes = memory_.emplace_back(std::move(memory));
  }
  fetched_.push_back(std::move(fetched));
}

void CachedReads::forget_begun() {
  if (has_begun_) {
    has_begun_ = false;
    --begun_fetches;
  }
}

void CachedReads::send() {
  has_begun_ = !fetched_.empty();
  begun_fetches += has_begun_ ? 1 : 0;
  is_waited_for_ = !is_ahead_ && (!fetched_.empty() || !joined_.empty() || !unkept_.empty());
  if (is_waited_for_) {
    ++file_.waiting_;
  }
  for (const Fetched& fetched : fetched_) {
    const uint64_t offset = fetched.cluster * file_.cache_->cluster_bytes();
    // Clusters that lie behind each other in the file and in memory are one read.
    if (!sent_.empty() && sent_.back().offset + sent_.back().buffer.size() == offset &&
        sent_.back().buffer.data() + sent_.back().buffer.size() == fetched.bytes.data()) {
      ByteSpan& buffer = sent_.back().buffer;
      buffer = ByteSpan(buffer.data(), buffer.size() + fetched.bytes.size());
    } else {
      sent_.push_back({&file_.origin_, offset, fetched.bytes});
    }
  }
  for (const Part& part : unkept_) {
    sent_.push_back({&file_.origin_, part.offset, part.buffer});
  }
  if (!sent_.empty()) {
    pending_ = file_.origin_.begin_reads(sent_);
  }
}

Result<void> CachedReads::finish() {
  // Whatever happens, the fetches are brought to their end before anybody is waited for.
  Result<void> local = read_local();
  Result<void> ended = end_fetches(receive());
  wait_for_others();
  UNIONFS_TRY(local);
  UNIONFS_TRY(ended);
  return read_late();
}

// An error of the cache file is none of the client's.
Result<void> CachedReads::read_local() {
  if (local_.empty()) {
    return {};
  }
  const CacheFile& cache = *file_.cache_;
  std::vector<ReadRange> ranges;
  ranges.reserve(local_.size());
  for (const Local& local : local_) {
    ranges.push_back({&cache.file(), cache.place_of(local.part.offset), local.part.buffer});
  }
  const Result<void> read = file_.local_.read(ranges);
  if (!read) {
    file_.cache_->poison(read.error().message);
  }
  for (const Local& local : local_) {
    if (!read || !cache.is_same_generation(local.cluster, local.generation)) {
      late_.push_back(local.part);
    } else {
      file_.cache_->touch(local.cluster);
      file_.count_hits(local.part.offset, local.part.buffer.size());
    }
  }
  return {};
}

Result<void> CachedReads::receive() {
  if (pending_ != nullptr) {
    return pending_->finish();
  }
  for (const ReadRange& range : sent_) {
    UNIONFS_TRY(file_.origin_.read(range.offset, range.buffer));
  }
  return {};
}

Result<void> CachedReads::end_fetches(const Result<void>& received) {
  for (Fetched& fetched : fetched_) {
    if (received) {
      if (file_.check_not_replaced()) {
        file_.cache_->fill(fetched.cluster, fetched.bytes);
      }
      if (fetched.bytes.data() != fetched.part.buffer.data()) {
        const uint64_t begin = fetched.cluster * file_.cache_->cluster_bytes();
        const ByteSpan wanted =
            fetched.bytes.subspan(fetched.part.offset - begin, fetched.part.buffer.size());
        std::copy(wanted.begin(), wanted.end(), fetched.part.buffer.begin());
      }
      if (!is_ahead_) {
        file_.cache_->touch(fetched.cluster);
      }
      (is_ahead_ ? file_.ahead_ : file_.misses_).fetch_add(1, std::memory_order_relaxed);
    }
    file_.end_fetch(fetched.cluster, *fetched.fetch);
    fetched.has_ended = true;
  }
  if (received) {
    file_.misses_.fetch_add(unkept_.size(), std::memory_order_relaxed);
  }
  forget_begun();
  return received;
}

// Then the cluster is there, or could not be kept, or had its own time to be over.  Who waits no
// longer asks the origin, which knows that, too.
void CachedReads::wait_for_others() {
  for (const Joined& joined : joined_) {
    joined.fetch->wait();
    file_.joined_.fetch_add(1, std::memory_order_relaxed);
    late_.push_back(joined.part);
  }
}

bool CachedReads::read_of_cache(const Part& part) const {
  const CacheFile& cache = *file_.cache_;
  const uint64_t cluster = part.offset / cache.cluster_bytes();
  const CacheFile::Run run = cache.run_at(cluster, cluster + 1);
  const bool is_inside = part.offset + part.buffer.size() <= file_.end_of_cluster(cluster);
  return run.is_there && is_inside && cache.file().read(cache.place_of(part.offset), part.buffer) &&
         cache.is_same_generation(cluster, run.generation);
}

// The rest, all together.
Result<void> CachedReads::read_late() {
  std::vector<ReadRange> ranges;
  for (const Part& part : late_) {
    if (!read_of_cache(part)) {
      ranges.push_back({&file_.origin_, part.offset, part.buffer});
    }
  }
  if (ranges.empty()) {
    return {};
  }
  std::ranges::sort(ranges, {}, &ReadRange::offset);
  const std::unique_ptr<PendingReads> pending = file_.origin_.begin_reads(ranges);
  if (pending != nullptr) {
    return pending->finish();
  }
  for (const ReadRange& range : ranges) {
    UNIONFS_TRY(file_.origin_.read(range.offset, range.buffer));
  }
  return {};
}

}  // namespace unionfs
