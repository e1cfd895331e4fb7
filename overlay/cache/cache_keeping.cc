// SPDX-License-Identifier: BSD-3-Clause
//
// The part of CacheFile that makes bits durable, and makes room.
#include <algorithm>
#include <utility>

#include "overlay/cache/cache_file.h"
#include "overlay/cache/place_lock.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

using cache_format::Region;

constexpr size_t kEvictedAtOnce = 16;  // regions, for one sync

}  // namespace

void CacheFile::flush() {
  const MutexLock lock(keeper_mutex_);
  if (!is_dirty_.exchange(false) || is_poisoned()) {
    return;
  }
  if (const Result<void> flushed = flush_locked(); !flushed) {
    // After a sync that failed nobody knows which bytes are there.
    poison(flushed.error().message);
  }
}

Result<void> CacheFile::flush_locked() {
  const PlaceLock lock(*file_, cache_format::kDurableLock);
  if (!lock) {
    is_dirty_ = true;  // at the next time
    return {};
  }
  std::vector<uint64_t> live(places_.region_count);
  for (uint64_t region = 0; region < places_.region_count; ++region) {
    live[region] = live_of(region).load(std::memory_order_acquire);
  }
  std::vector<uint64_t> durable(places_.region_count);
  UNIONFS_TRY(file_->read(places_.durable_offset, std::as_writable_bytes(std::span(durable))));
  if (live == durable) {
    return {};
  }
  UNIONFS_TRY(file_->sync());
  UNIONFS_TRY(file_->write(places_.durable_offset, std::as_bytes(std::span(live))));
  return file_->sync();
}

// Regions that have something and were not read for the longest time, as far as a bit tells.
std::vector<uint64_t> CacheFile::choose_old(size_t count) {
  std::vector<uint64_t> chosen;
  for (uint64_t seen = 0; seen < 2 * places_.region_count && chosen.size() < count; ++seen) {
    const uint64_t region = hand_;
    hand_ = (hand_ + 1) % places_.region_count;
    if (live_of(region).load(std::memory_order_relaxed) == 0) {
      continue;
    }
    if (clock_of(region) != 0) {
      (void)file_->write(places_.clocks_offset + region, bytes_of(uint8_t{0}));
    } else if (std::find(chosen.begin(), chosen.end(), region) == chosen.end()) {
      chosen.push_back(region);
    }
  }
  return chosen;
}

// Readers that have begun find another generation, and ask the image.  What is durable must have
// gone before the bytes do.
Result<size_t> CacheFile::evict(const std::vector<uint64_t>& regions) {
  std::vector<std::unique_ptr<PlaceLock>> locks;
  std::vector<uint64_t> held;
  Result<void> done;
  for (const uint64_t region : regions) {
    evicted_[region].store(true, std::memory_order_release);
    const MutexLock guard(fill_mutexes_[region % fill_mutexes_.size()]);
    auto lock = std::make_unique<PlaceLock>(*file_, cache_format::kFirstRegionLock + region);
    if (!*lock) {
      evicted_[region].store(false, std::memory_order_release);
      continue;
    }
    locks.push_back(std::move(lock));
    held.push_back(region);
    // Who sees the new generation sees no old bit.
    const uint64_t generation = generation_of(region).load(std::memory_order_relaxed) + 1;
    const uint64_t at = cache_format::kRegionsOffset + region * sizeof(Region);
    done = write_word(at + offsetof(Region, live), 0);
    done = done ? write_word(at + offsetof(Region, generation), generation) : done;
    done = done ? write_word(places_.durable_offset + region * sizeof(uint64_t), 0) : done;
    if (!done) {
      break;
    }
  }
  done = done ? file_->sync() : done;
  const uint64_t region_bytes = cluster_bytes() * kClustersPerRegion;
  for (size_t i = 0; i < held.size(); ++i) {
    if (done) {
      const uint64_t begin = held[i] * region_bytes;
      const uint64_t length = std::min(region_bytes, options_.image_bytes - begin);
      done = file_->punch(place_of(begin), length);
    }
    // A lock of the file does not tell threads of one process apart: it goes before one may fill.
    locks[i].reset();
    evicted_[held[i]].store(false, std::memory_order_release);
  }
  if (!done) {
    return Failure(done.error());
  }
  return held.size();
}

void CacheFile::make_room() {
  const MutexLock keeper(keeper_mutex_);
  const PlaceLock lock(*file_, cache_format::kDurableLock);
  // A little more than needed, so that not each cluster takes a sync.
  const uint64_t aim = options_.most_bytes - options_.most_bytes / 16;
  while (lock && !is_poisoned()) {
    const Result<HostSpace> space = file_->space();
    if (!space || space->used_bytes <= aim) {
      return;
    }
    const uint64_t region_bytes = cluster_bytes() * kClustersPerRegion;
    const uint64_t needed = (space->used_bytes - aim + region_bytes - 1) / region_bytes;
    std::vector<uint64_t> old = choose_old(std::min<uint64_t>(needed, kEvictedAtOnce));
    const bool is_last = old.empty();
    if (is_last) {
      old = regions_without_bits();
    }
    const Result<size_t> evicted = evict(old);
    if (!evicted) {
      note_failure(evicted.error());
    }
    if (!evicted || *evicted == 0 || is_last || is_ending()) {
      return;
    }
  }
}

// What a fill or an emptying that was cut off has left takes space, and nobody knows of it.
std::vector<uint64_t> CacheFile::regions_without_bits() const {
  std::vector<uint64_t> regions;
  for (uint64_t region = 0; region < places_.region_count; ++region) {
    if (live_of(region).load(std::memory_order_relaxed) == 0) {
      regions.push_back(region);
    }
  }
  return regions;
}

bool CacheFile::is_ending() {
  const MutexLock lock(mutex_);
  return has_to_stop_;
}

void CacheFile::keep(bool needs_room) {
  try {
    if (needs_room) {
      make_room();
    }
    flush();
  } catch (const std::exception& error) {  // no memory, say: at the next time
    is_dirty_ = true;
  }
}

// Returns whether room has to be made; nothing once it is time to end.
std::optional<bool> CacheFile::wait_for_work() {
  const auto flush_at = std::chrono::steady_clock::now() + options_.flush_period;
  const MutexLock lock(mutex_);
  while (!has_to_stop_ && !needs_room_ && !wakeup_.wait_until(mutex_, flush_at)) {
  }
  return has_to_stop_ ? std::nullopt : std::optional(std::exchange(needs_room_, false));
}

void CacheFile::run() {
  while (const std::optional<bool> needs_room = wait_for_work()) {
    keep(*needs_room);
  }
  keep(false);
}

}  // namespace unionfs
