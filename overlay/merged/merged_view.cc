// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/merged_view.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "overlay/merged/layer_over_lower.h"

namespace unionfs {

MergedView::MergedView(const LayerOverLower& layer, const SessionBitmap* written,
                       const MergedView* parent)
    : synthesis_(layer.synthesis()),
      geometry_(layer.geometry()),
      layer_(layer.layer()),
      lower_(layer.below().file()),
      flat_runs_(layer.below().flat_runs()),
      upper_(layer.upper_file()),
      reader_(layer.reader()),
      bitmap_(written),
      parent_(parent),
      fixed_blocks_offset_(layer.area().fixed_blocks.offset),
      translated_blocks_offset_(layer.area().translated_blocks.offset),
      block_size_(geometry_.merged().block_size_bytes),
      lower_end_(geometry_.lower().block_count),
      is_far_(has_far_level(layer)) {}

bool MergedView::has_far_level(const LayerOverLower& layer) const {
  const auto is_far = [](const ReadableFile& file) { return file.descriptor() == -1; };
  bool is_any = parent_ != nullptr && (parent_->is_far_ || is_far(parent_->upper_));
  for (const LayerOverLower* above = &layer; above != nullptr; above = above->layer_below()) {
    const LayerOverLower* below = above->layer_below();
    is_any |= is_far(below != nullptr ? below->upper_file() : above->below().file());
  }
  return is_any;
}

// The one place that knows where blocks go.
Place MergedView::place_of(BlockNumber begin, BlockNumber end) const {
  Place place;
  if (const FixedRange* range = geometry_.fixed_at_or_after(begin)) {
    if (range->blocks.contains(begin)) {
      place.kind = Place::Kind::kFixed;
      place.end = std::min(end, range->blocks.end);
      place.home =
          fixed_blocks_offset_ + (range->first_rank + (begin - range->blocks.begin)) * block_size_;
      place.fixed = range;
      return place;
    }
    end = std::min(end, range->blocks.begin);
  }
  const Layout& merged = geometry_.merged();
  const GroupNumber group = merged.group_of(begin);
  place.end = std::min(end, merged.blocks_of(group).end);
  place.home = begin.value() * block_size_;
  if (!layer_.own_blocks().has_any(group)) {
    return place;  // and so no translated ones
  }
  const auto& table = layer_.tables().translated;
  const size_t index = layer_.translated_at_or_after(begin);
  if (index < table.size() && table[index].block == begin) {
    place.kind = Place::Kind::kTranslated;
    place.end = begin + 1;
    place.home = translated_blocks_offset_ + index * block_size_;
    place.translated = index;
  } else if (index < table.size()) {
    place.end = std::min(place.end, table[index].block);
  }
  return place;
}

Run MergedView::run_at(BlockNumber begin, BlockNumber end) const {
  const Place place = place_of(begin, end);
  const SessionBitmap::BitRun written = written_at(begin, place.end);
  if (!written.is_set) {
    return parent_ != nullptr ? parent_run(place, begin, written.end)
                              : unwritten_run(place, begin, written.end);
  }
  return {BlockSource::in_file(Source::kUpper, written.end, upper_, place.home), place};
}

namespace {

// What a parent has at home is not at the home of whoever stands on it.
BlockSource as_below(BlockSource source) {
  if (source.source == Source::kUpper) {
    source.source = Source::kLower;
  }
  return source;
}

}  // namespace

Run MergedView::parent_run(const Place& place, BlockNumber begin, BlockNumber end) const {
  const SessionRuns* runs = parent_->session_runs();
  return {runs != nullptr ? runs->source_at(begin, end) : as_below(parent_->run_at(begin, end)),
          place};
}

BlockSource MergedView::written_source(BlockNumber begin, BlockNumber end) const {
  const Place place = place_of(begin, end);
  return BlockSource::in_file(Source::kLower, place.end, upper_, place.home);
}

BlockSource MergedView::unwritten_source(BlockNumber begin, BlockNumber end) const {
  const Place place = place_of(begin, end);
  return as_below(unwritten_run(place, begin, place.end));
}

void MergedView::flatten() {
  if (own_runs_ != nullptr) {
    return;
  }
  own_runs_ = std::make_unique<const SessionRuns>(
      *this, parent_ != nullptr ? parent_->session_runs() : nullptr);
  runs_.store(own_runs_.get(), std::memory_order_release);
}

std::unique_ptr<const SessionRuns> MergedView::forget_runs() {
  runs_.store(nullptr, std::memory_order_release);
  return std::move(own_runs_);
}

SessionBitmap::BitRun MergedView::written_by_parents(BlockNumber begin, BlockNumber end) const {
  SessionBitmap::BitRun run{false, end};
  for (const MergedView* view = parent_; view != nullptr && !run.is_set; view = view->parent_) {
    run = view->written_at(begin, run.end);
  }
  return run;
}

Run MergedView::unwritten_run(const Place& place, BlockNumber begin, BlockNumber end) const {
  switch (place.kind) {
    case Place::Kind::kFixed:
      if (place.fixed->kind == FixedKind::kInodeTable &&
          synthesis_.has_plain_inode_table(place.fixed->group)) {
        return below_run(place, begin, end);
      }
      return {BlockSource::of_fixed(begin + 1, synthesis_, *place.fixed), place};
    case Place::Kind::kTranslated:
      return {BlockSource::of_translated(begin + 1, synthesis_, place.translated), place};
    case Place::Kind::kData:
      break;
  }
  return data_run(place, begin, end);
}

Run MergedView::below_run(const Place& place, BlockNumber begin, BlockNumber end) const {
  if (begin >= lower_end_) {
    return {BlockSource::zeros(end), place};
  }
  end = std::min(end, lower_end_);
  if (flat_runs_ != nullptr) {
    return {flat_runs_->run_at(begin, end), place};
  }
  return {BlockSource::in_file(Source::kLower, end, lower_, begin.value() * block_size_), place};
}

Run MergedView::data_run(const Place& place, BlockNumber begin, BlockNumber end) const {
  const GroupNumber group = geometry_.merged().group_of(begin);
  const BlockRange blocks = geometry_.merged().blocks_of(group);
  end = std::min(end, blocks.end);
  const ConstByteSpan own = layer_.own_blocks().of(group);
  if (own.empty()) {
    return below_run(place, begin, end);
  }
  const BlockNumber first = blocks.begin;
  if (!test_bit(own, begin - first)) {
    return below_run(place, begin, first + find_set_bit(own, begin - first, end - first));
  }
  const BlockNumber own_end = first + find_clear_bit(own, begin - first, end - first);
  return {BlockSource::in_file(Source::kUpper, own_end, upper_, place.home), place};
}

bool MergedView::is_home_unused(BlockNumber block) const {
  const Place place = place_of(block, block + 1);
  if (place.kind != Place::Kind::kData || written_at(block, block + 1).is_set) {
    return false;
  }
  return data_run(place, block, block + 1).source != Source::kUpper;
}

Result<void> MergedView::synthesize(const Run& run, BlockNumber block, size_t skip,
                                    ByteSpan out) const {
  const bool is_whole = out.size() == block_size_;
  if (!is_whole && run.source == Source::kSynthesizedFixed &&
      run.synthesis->has_parts(*run.fixed, skip, out.size())) {
    return run.synthesis->inode_table(*run.fixed, block, skip, out);
  }
  std::array<std::byte, ext2::kMaxBlockSizeBytes> scratch;
  const ByteSpan target = is_whole ? out : ByteSpan(scratch).first(block_size_);
  UNIONFS_TRY(run.source == Source::kSynthesizedFixed
                  ? run.synthesis->fixed_block(*run.fixed, block, target)
                  : run.synthesis->translated_block(run.translated, target));
  if (!is_whole) {
    std::memcpy(out.data(), scratch.data() + skip, out.size());
  }
  return {};
}

namespace {

// The ranges of one request.  Those of the host's files are read in batches, which costs no memory;
// where another file is among them, all are kept, because each batch would wait for it.
class RangesToRead {
 public:
  RangesToRead(BatchReader& reader, ReadBy by) : reader_(reader), by_(by) {}

  Result<void> add(const ReadRange& range) {
    ranges_[count_++] = range;
    if (count_ < ranges_.size()) {
      return {};
    }
    const std::span<ReadRange> full = std::span(ranges_).first(std::exchange(count_, 0));
    const bool is_near = kept_.empty() && std::ranges::all_of(full, [](const ReadRange& one) {
                           return one.file->descriptor() != -1;
                         });
    if (is_near) {
      return reader_.read_cached_first(full, by_);
    }
    kept_.insert(kept_.end(), full.begin(), full.end());
    return {};
  }

  Result<void> finish(const BatchReader::Meanwhile& meanwhile) {
    const std::span<ReadRange> rest = std::span(ranges_).first(count_);
    if (kept_.empty()) {
      return reader_.read_cached_first(rest, by_, meanwhile);
    }
    kept_.insert(kept_.end(), rest.begin(), rest.end());
    return reader_.read_cached_first(kept_, by_, meanwhile);
  }

 private:
  BatchReader& reader_;
  const ReadBy by_;
  std::array<ReadRange, BatchReader::kMaxBatch> ranges_;
  size_t count_ = 0;
  std::vector<ReadRange> kept_;
};

}  // namespace

// What is far away is begun before anything is computed, which may have to read as well.
Result<void> MergedView::read(uint64_t offset, ByteSpan buffer, ReadBy by) const {
  struct ToCompute {
    Run run;
    BlockNumber block;
    size_t skip;
    ByteSpan out;
  };
  std::vector<ToCompute> computed;
  RangesToRead in_files(reader_, by);
  const BlockNumber end_block(divide_round_up(offset + buffer.size(), block_size_));
  while (!buffer.empty()) {
    const BlockNumber block(offset / block_size_);
    const size_t skip = offset % block_size_;
    const Run run = run_at(block, end_block);
    const auto length = static_cast<size_t>(
        std::min<uint64_t>(run.end.value() * block_size_ - offset, buffer.size()));
    const ByteSpan piece = buffer.first(length);
    if (run.source == Source::kZero) {
      std::memset(piece.data(), 0, length);
    } else if (run.source == Source::kLower || run.source == Source::kUpper) {
      UNIONFS_TRY(in_files.add({run.file, run.offset + skip, piece}));
    } else if (is_far_) {
      computed.push_back({run, block, skip, piece});
    } else {
      UNIONFS_TRY(synthesize(run, block, skip, piece));
    }
    offset += length;
    buffer = buffer.subspan(length);
  }
  if (computed.empty()) {
    return in_files.finish({});
  }
  return in_files.finish([&]() -> Result<void> {
    for (const ToCompute& one : computed) {
      UNIONFS_TRY(synthesize(one.run, one.block, one.skip, one.out));
    }
    return {};
  });
}

void MergedView::prefetch(uint64_t offset, uint64_t length) const {
  const BlockNumber end_block(divide_round_up(offset + length, block_size_));
  BlockNumber block(offset / block_size_);
  while (block < end_block) {
    const Run run = run_at(block, end_block);
    const uint64_t run_length = (run.end - block) * block_size_;
    if (run.file != nullptr) {
      run.file->prefetch(run.offset, run_length);
    }
    block = run.end;
  }
}

Result<void> check_size_of_parent(const LayerOverLower& layer, const MergedView& parent) {
  if (layer.geometry().size_bytes() == parent.size_bytes()) {
    return {};
  }
  return corrupt(
      "{}: has {} bytes, and stands on a frozen session of {} bytes, which must be equal",
      layer.upper_file().name(), layer.geometry().size_bytes(), parent.size_bytes());
}

}  // namespace unionfs
