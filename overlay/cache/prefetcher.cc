// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/cache/prefetcher.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "overlay/cache/cached_reads.h"

namespace unionfs {
namespace {

// Two of these are about one bandwidth times round trip at 1 Gb/s and 20 ms.
constexpr uint64_t kBatchBytes = uint64_t{1} << 20;
// Behind this much a client's request waits for 2 ms at 1 Gb/s.
constexpr uint64_t kSmallBatchBytes = uint64_t{256} << 10;

}  // namespace

Prefetcher::Prefetcher(const CachedFile& file, std::vector<uint64_t> clusters)
    : file_(file), clusters_(std::move(clusters)), thread_([this] { run(); }) {}

Prefetcher::~Prefetcher() {
  {
    const MutexLock lock(mutex_);
    has_to_stop_ = true;
  }
  wakeup_.notify_all();
  thread_.join();
}

bool Prefetcher::has_to_stop() {
  const MutexLock lock(mutex_);
  return has_to_stop_;
}

size_t Prefetcher::batch_size() const {
  const uint64_t bytes = file_.waiting_.load() != 0 ? kSmallBatchBytes : kBatchBytes;
  return static_cast<size_t>(std::max<uint64_t>(bytes / file_.cache_->cluster_bytes(), 1));
}

std::unique_ptr<Prefetcher::Batch> Prefetcher::begin_batch() {
  const size_t most = batch_size();
  std::vector<uint64_t> wanted;
  for (; next_ < clusters_.size() && wanted.size() < most; ++next_) {
    if (!file_.cache_->run_at(clusters_[next_], clusters_[next_] + 1).is_there) {
      wanted.push_back(clusters_[next_]);
    }
  }
  if (wanted.empty()) {
    return nullptr;
  }
  auto batch = std::make_unique<Batch>();
  const uint64_t size = file_.cache_->cluster_bytes();
  batch->memory.resize(wanted.size() * size);
  batch->reads = std::make_unique<CachedReads>(file_, CachedReads::Purpose::kAhead);
  ByteSpan memory = batch->memory;
  for (const uint64_t cluster : wanted) {
    const uint64_t length = file_.end_of_cluster(cluster) - cluster * size;
    batch->reads->add({&file_, cluster * size, memory.first(length)});
    memory = memory.subspan(length);
  }
  batch->reads->send();
  return batch;
}

// From the beginning: what was fetched when a pause began is not kept.  Returns whether a pause has
// cut it off; anything else, an error too, is its end.
bool Prefetcher::fetch_missing() {
  next_ = 0;
  std::unique_ptr<Batch> before;
  while (!has_to_stop() && !file_.cache_->is_full()) {
    if (!file_.cache_->takes_more()) {
      return !file_.cache_->is_poisoned();
    }
    if (before != nullptr && file_.waiting_.load() != 0) {
      if (!before->reads->finish()) {
        return false;
      }
      before = nullptr;
    }
    std::unique_ptr<Batch> batch = begin_batch();
    if (before != nullptr && !before->reads->finish()) {
      return false;
    }
    before = std::move(batch);
    if (before == nullptr) {
      return file_.cache_->paused_until().has_value();
    }
  }
  return false;
}

// False when it is time to end.
bool Prefetcher::wait_while_paused() {
  const MutexLock lock(mutex_);
  while (!has_to_stop_) {
    const auto until = file_.cache_->paused_until();
    if (!until) {
      return true;
    }
    (void)wakeup_.wait_until(mutex_, *until);
  }
  return false;
}

// What is fetched ahead is of use to nobody who must have it: no memory for it, say, ends it.
void Prefetcher::run() {
  try {
    while (wait_while_paused() && fetch_missing()) {
    }
  } catch (const std::exception&) {
  }
}

}  // namespace unionfs
