// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/falling_blocks.h"

#include <algorithm>

namespace unionfs {

// The finalizer of SplitMix64 over inode and place, as docs/format.md has it.
uint64_t FallingBlocks::score(FileBlock block) const {
  uint64_t mixed = (uint64_t{inode_.value()} << 32 ^ block.value()) + 0x9e3779b97f4a7c15U;
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9U;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebU;
  return mixed ^ mixed >> 31;
}

void FallingBlocks::add(const FileBlockPlace& place, bool falls_through) {
  if (before_ && before_falls_ != falls_through && neighbours_.size() < kMaxNeighbours) {
    neighbours_.insert(falls_through ? place : *before_);
  }
  before_ = place;
  before_falls_ = falls_through;
  if (!falls_through) {
    return;
  }
  ++count_;
  first_ = first_.value_or(place);
  last_ = place;
  if (count_ <= max_whole_blocks_) {
    all_.push_back(place);
  }
  const uint64_t its_score = score(place.file_block);
  if (least_.size() < kSampledBlocks || its_score < least_.rbegin()->first) {
    least_.emplace(its_score, place);
    if (least_.size() > kSampledBlocks) {
      least_.erase(std::prev(least_.end()));
    }
  }
}

std::vector<FileBlockPlace> FallingBlocks::chosen() const {
  if (count_ <= max_whole_blocks_) {
    return all_;
  }
  std::set<FileBlockPlace> sample = neighbours_;
  sample.insert(*first_);
  sample.insert(*last_);
  for (auto next = least_.begin(); next != least_.end() && sample.size() < kSampledBlocks; ++next) {
    sample.insert(next->second);
  }
  return {sample.begin(), sample.end()};
}

}  // namespace unionfs
