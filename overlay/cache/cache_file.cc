// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/cache_file.h"

#include <unistd.h>

#include <algorithm>

#include "overlay/cache/place_lock.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

using cache_format::Region;

}  // namespace

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
  return file_->write(offset, bytes_of(value));
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
    (void)file_->write(places_.clocks_offset + region, bytes_of(uint8_t{1}));
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

std::optional<std::chrono::steady_clock::time_point> CacheFile::paused_until() const {
  using std::chrono::steady_clock;
  const steady_clock::duration until(no_fill_before_.load(std::memory_order_relaxed));
  return steady_clock::now().time_since_epoch() < until
             ? std::optional(steady_clock::time_point(until))
             : std::nullopt;
}

bool CacheFile::takes_more() const {
  return !is_poisoned() && !paused_until();
}

void CacheFile::pause_filling(const Error& error) {
  constexpr std::chrono::milliseconds kLongestPause = std::chrono::hours(1);
  constexpr unsigned kMostDoublings = 16;
  auto before = no_fill_before_.load();
  if (!takes_more()) {
    return;
  }
  const unsigned doublings = std::min(pauses_in_a_row_.load(), kMostDoublings);
  const auto until = std::chrono::steady_clock::now() +
                     std::min(options_.pause_without_space * (1U << doublings), kLongestPause);
  if (!no_fill_before_.compare_exchange_strong(before, until.time_since_epoch().count())) {
    return;  // another thread has met the same
  }
  ++pauses_in_a_row_;
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
  if (!takes_more()) {
    return;
  }
  if (is_full()) {
    const MutexLock lock(mutex_);
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
  } else {
    pauses_in_a_row_ = 0;
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

}  // namespace unionfs
