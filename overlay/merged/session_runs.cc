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

SessionRuns::SessionRuns(const MergedView& top, const SessionRuns* below)
    : end_(top.size_bytes() / top.block_size_bytes()),
      stretches_(divide_round_up(end_.value(), kStretchBlocks)) {
  for (const MergedView* view = &top; view != nullptr; view = view->parent()) {
    views_.push_back(view);
  }
  std::reverse(views_.begin(), views_.end());
  if (below != nullptr) {
    take_over(*below);
  }
}

// Its levels are those below the topmost one, with the same numbers.
void SessionRuns::take_over(const SessionRuns& below) {
  const size_t top = views_.size() - 1;
  for (uint64_t stretch = 0; stretch < stretches_.size(); ++stretch) {
    const Runs* known = below.stretches_[stretch].load(std::memory_order_acquire);
    if (known != nullptr) {
      const BlockRange blocks = blocks_of(stretch);
      const SessionBitmap::BitRun run = views_.back()->written_at(blocks.begin, blocks.end);
      const bool is_unchanged = !run.is_set && run.end == blocks.end;
      auto made =
          std::make_unique<const Runs>(is_unchanged ? *known : make_runs(stretch, top, *known));
      stretches_[stretch].store(made.release(), std::memory_order_release);
    }
  }
}

SessionRuns::~SessionRuns() {
  for (const std::atomic<const Runs*>& stretch : stretches_) {
    delete stretch.load(std::memory_order_relaxed);
  }
}

BlockRange SessionRuns::blocks_of(uint64_t stretch) const {
  const BlockNumber begin(stretch * kStretchBlocks);
  return {begin, std::min(end_, begin + kStretchBlocks)};
}

// Two threads may make the same; one of them keeps it.
const SessionRuns::Runs& SessionRuns::runs_of(uint64_t stretch) const {
  std::atomic<const Runs*>& place = stretches_[stretch];
  const Runs* known = place.load(std::memory_order_acquire);
  if (known != nullptr) {
    return *known;
  }
  auto made = std::make_unique<const Runs>(make_runs(stretch, 0, {}));
  if (place.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *known;
}

// From the bottom up, so that the newest writer of a block stays.
SessionRuns::Runs SessionRuns::make_runs(uint64_t stretch, size_t first_view,
                                         const Runs& below) const {
  const auto [begin, end] = blocks_of(stretch);
  std::vector<uint8_t> writers(end - begin, 0);
  for (size_t i = 0; i < below.size(); ++i) {
    const uint32_t first = below[i] >> kNumberBits;
    const uint64_t next = i + 1 < below.size() ? below[i + 1] >> kNumberBits : writers.size();
    std::memset(writers.data() + first, static_cast<int>(below[i] & kNumberMask), next - first);
  }
  for (size_t index = first_view; index < views_.size(); ++index) {
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
