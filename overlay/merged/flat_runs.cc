// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/flat_runs.h"

#include <algorithm>
#include <cstring>

#include "overlay/merged/layer_over_lower.h"

namespace unionfs {
namespace {

constexpr uint32_t kLevelBits = 8;
constexpr uint32_t kLevelMask = (1U << kLevelBits) - 1;

}  // namespace

FlatRuns::FlatRuns(const LayerOverLower& top) : groups_(top.geometry().merged().group_count()) {
  const Below* below = nullptr;
  for (const LayerOverLower* layer = &top; layer != nullptr; layer = below->layer()) {
    levels_.push_back(
        {&layer->layer(), &layer->geometry(), &layer->upper_file(), &layer->synthesis()});
    below = &layer->below();
  }
  std::reverse(levels_.begin(), levels_.end());
  bottom_ = &below->file();
  bottom_end_ = BlockNumber(below->layout().block_count);
  block_size_ = below->layout().block_size_bytes;
}

FlatRuns::~FlatRuns() {
  for (const std::atomic<const GroupRuns*>& group : groups_) {
    delete group.load(std::memory_order_relaxed);
  }
}

// Two threads may make the same; one of them keeps it.
const FlatRuns::GroupRuns& FlatRuns::runs_of(GroupNumber group) const {
  std::atomic<const GroupRuns*>& place = groups_[group.value()];
  const GroupRuns* known = place.load(std::memory_order_acquire);
  if (known != nullptr) {
    return *known;
  }
  auto made = std::make_unique<const GroupRuns>(make_runs(group));
  if (place.compare_exchange_strong(known, made.get(), std::memory_order_acq_rel)) {
    return *made.release();
  }
  return *known;
}

// From the bottom up, so that the topmost owner of a block stays.
FlatRuns::GroupRuns FlatRuns::make_runs(GroupNumber group) const {
  const BlockRange blocks = levels_.back().geometry->merged().blocks_of(group);
  std::vector<uint8_t> owners(blocks.end - blocks.begin, 0);
  GroupRuns made;
  for (size_t index = 0; index < levels_.size(); ++index) {
    const Level& level = levels_[index];
    const Layout& merged = level.geometry->merged();
    if (group.value() >= merged.group_count()) {
      continue;
    }
    const auto number = static_cast<uint8_t>(index + 1);
    if (!level.synthesis->has_plain_inode_table(group)) {
      made.inode_table = number;
    }
    const ConstByteSpan own = level.layer->own_blocks().of(group);
    if (own.empty()) {
      continue;  // and so no translated ones
    }
    const BlockNumber level_end = merged.blocks_of(group).end;
    const uint64_t end = level_end - blocks.begin;
    for (uint64_t at = 0; at < end;) {
      const uint64_t first = find_set_bit(own, at, end);
      at = first < end ? find_clear_bit(own, first, end) : end;
      std::memset(owners.data() + first, number, at - first);
    }
    // Not all of them are own.
    const auto& table = level.layer->tables().translated;
    for (size_t i = level.layer->translated_at_or_after(blocks.begin);
         i < table.size() && table[i].block < level_end; ++i) {
      owners[table[i].block - blocks.begin] = number;
    }
  }
  for (uint32_t at = 0; at < owners.size(); ++at) {
    if (at == 0 || owners[at] != owners[at - 1]) {
      made.runs.push_back(at << kLevelBits | owners[at]);
    }
  }
  made.runs.shrink_to_fit();
  return made;
}

BlockSource FlatRuns::run_at(BlockNumber begin, BlockNumber end) const {
  const Geometry& geometry = *levels_.back().geometry;
  if (const FixedRange* range = geometry.fixed_at_or_after(begin)) {
    if (range->blocks.contains(begin)) {
      return fixed_run(*range, begin, std::min(end, range->blocks.end));
    }
    end = std::min(end, range->blocks.begin);
  }
  const GroupNumber group = geometry.merged().group_of(begin);
  const BlockRange blocks = geometry.merged().blocks_of(group);
  const std::vector<uint32_t>& runs = runs_of(group).runs;
  const auto at = static_cast<uint32_t>(begin - blocks.begin);
  const auto next = std::upper_bound(runs.begin(), runs.end(), at << kLevelBits | kLevelMask);
  end = std::min(end, next == runs.end() ? blocks.end : blocks.begin + (*next >> kLevelBits));
  const uint32_t number = next[-1] & kLevelMask;
  return number == 0 ? bottom_run(begin, end) : own_run(levels_[number - 1], begin, end);
}

BlockSource FlatRuns::bottom_run(BlockNumber begin, BlockNumber end) const {
  if (begin >= bottom_end_) {
    return BlockSource::zeros(end);
  }
  return BlockSource::in_file(Source::kLower, std::min(end, bottom_end_), *bottom_,
                              begin.value() * block_size_);
}

BlockSource FlatRuns::own_run(const Level& level, BlockNumber begin, BlockNumber end) const {
  const auto& table = level.layer->tables().translated;
  const size_t index = level.layer->translated_at_or_after(begin);
  if (index < table.size()) {
    if (table[index].block == begin) {
      return BlockSource::of_translated(begin + 1, *level.synthesis, index);
    }
    end = std::min(end, table[index].block);
  }
  return BlockSource::in_file(Source::kLower, end, *level.file, begin.value() * block_size_);
}

// A level is the merged image's in all but the inode tables that nobody above has changed.
BlockSource FlatRuns::fixed_run(const FixedRange& range, BlockNumber begin, BlockNumber end) const {
  size_t number = levels_.size();
  if (range.kind == FixedKind::kInodeTable) {
    number = runs_of(range.group).inode_table;
  }
  if (number == 0) {
    return bottom_run(begin, end);
  }
  const Level& level = levels_[number - 1];
  return BlockSource::of_fixed(begin + 1, *level.synthesis,
                               *level.geometry->fixed_at_or_after(begin));
}

}  // namespace unionfs
