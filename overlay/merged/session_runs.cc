// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/session_runs.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "overlay/merged/merged_view.h"

namespace unionfs {
namespace {

constexpr uint64_t kStretchBlocks = 32768;
constexpr uint32_t kNumberBits = 8;
constexpr uint32_t kNumberMask = (1U << kNumberBits) - 1;
static_assert(FlatRuns::kMaxLayers <= kNumberMask);

}  // namespace

SessionRuns::SessionRuns(const MergedView& top)
    : end_(top.size_bytes() / top.block_size_bytes()),
      stretches_(divide_round_up(end_.value(), kStretchBlocks)) {
  for (const MergedView* view = &top; view != nullptr; view = view->parent()) {
    views_.push_back(view);
  }
  std::reverse(views_.begin(), views_.end());
}

SessionRuns::~SessionRuns() {
  for (const std::atomic<const Runs*>& stretch : stretches_) {
    delete stretch.load(std::memory_order_relaxed);
  }
}

// Two threads may make the same; one of them keeps it.
const SessionRuns::Runs& SessionRuns::runs_of(uint64_t stretch) const {
  std::atomic<const Runs*>& place = stretches_[stretch];
  const Runs* known = place.load(std::memory_order_acquire);
  if (known != nullptr) {
    return *known;
  }
  auto made = std::make_unique<const Runs>(make_runs(stretch));
  if (place.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *known;
}

// From the bottom up, so that the newest writer of a block stays.
SessionRuns::Runs SessionRuns::make_runs(uint64_t stretch) const {
  const BlockNumber begin(stretch * kStretchBlocks);
  const BlockNumber end = std::min(end_, begin + kStretchBlocks);
  std::vector<uint8_t> writers(end - begin, 0);
  for (size_t index = 0; index < views_.size(); ++index) {
    for (BlockNumber block = begin; block < end;) {
      const SessionBitmap::BitRun run = views_[index]->written_at(block, end);
      if (run.is_set) {
        std::memset(writers.data() + (block - begin), static_cast<int>(index + 1), run.end - block);
      }
      block = run.end;
    }
  }
  Runs runs;
  for (uint32_t at = 0; at < writers.size(); ++at) {
    if (at == 0 || writers[at] != writers[at - 1]) {
      runs.push_back(at << kNumberBits | writers[at]);
    }
  }
  runs.shrink_to_fit();
  return runs;
}

BlockSource SessionRuns::source_at(BlockNumber begin, BlockNumber end) const {
  const uint64_t stretch = begin.value() / kStretchBlocks;
  const BlockNumber first(stretch * kStretchBlocks);
  const Runs& runs = runs_of(stretch);
  const auto at = static_cast<uint32_t>(begin - first);
  const auto next = std::upper_bound(runs.begin(), runs.end(), at << kNumberBits | kNumberMask);
  end = std::min(end, next == runs.end() ? first + kStretchBlocks : first + (*next >> kNumberBits));
  const uint32_t number = next[-1] & kNumberMask;
  return number == 0 ? views_.front()->unwritten_source(begin, end)
                     : views_[number - 1]->written_source(begin, end);
}

uint64_t SessionRuns::memory_bytes() const {
  uint64_t bytes = stretches_.size() * sizeof(stretches_.front());
  for (const std::atomic<const Runs*>& stretch : stretches_) {
    const Runs* runs = stretch.load(std::memory_order_acquire);
    bytes += runs != nullptr ? sizeof(*runs) + runs->capacity() * sizeof(runs->front()) : 0;
  }
  return bytes;
}

}  // namespace unionfs
