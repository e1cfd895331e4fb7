// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/merged_view.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace unionfs {

MergedView::MergedView(const Synthesis& synthesis, const ReadableFile& lower,
                       const ReadableFile& upper, const StateArea& area, BatchReader& reader)
    : synthesis_(synthesis),
      geometry_(synthesis.geometry()),
      layer_(synthesis.layer()),
      lower_(lower),
      upper_(upper),
      area_(area),
      reader_(reader),
      block_size_(geometry_.merged().block_size_bytes),
      lower_end_(geometry_.lower().block_count) {}

uint64_t MergedView::fixed_home(const FixedRange& range, BlockNumber block) const {
  return area_.fixed_blocks.offset +
         (range.first_rank + (block - range.blocks.begin)) * block_size_;
}

bool MergedView::is_own(BlockNumber block) const {
  if (block.value() < geometry_.merged().first_data_block) {
    return false;
  }
  const GroupNumber group = geometry_.merged().group_of(block);
  const uint64_t bit = block - geometry_.merged().blocks_of(group).begin;
  return layer_.own_blocks().test(group, static_cast<uint32_t>(bit));
}

Run MergedView::run_at(BlockNumber begin, BlockNumber end) const {
  const FixedRange* range = geometry_.fixed_at_or_after(begin);
  if (range == nullptr) {
    return data_run(begin, end);
  }
  if (range->blocks.contains(begin)) {
    return fixed_run(*range, begin, std::min(end, range->blocks.end));
  }
  return data_run(begin, std::min(end, range->blocks.begin));
}

Run MergedView::fixed_run(const FixedRange& range, BlockNumber begin, BlockNumber end) const {
  const SessionBitmap::BitRun written = bitmap().run_at(begin, end);
  end = written.end;
  Run run;
  run.end = end;
  if (written.is_set) {
    run.source = Source::kUpper;
    run.offset = fixed_home(range, begin);
    return run;
  }
  if (range.kind == FixedKind::kInodeTable && synthesis_.has_plain_inode_table(range.group)) {
    return below_run(begin, end);
  }
  run.source = Source::kSynthesizedFixed;
  run.end = begin + 1;
  run.fixed = &range;
  return run;
}

Run MergedView::below_run(BlockNumber begin, BlockNumber end) const {
  Run run;
  run.end = end;
  if (begin < lower_end_) {
    run.source = Source::kLower;
    run.end = std::min(end, lower_end_);
    run.offset = begin.value() * block_size_;
  }
  return run;
}

Run MergedView::data_run(BlockNumber begin, BlockNumber end) const {
  const Layout& merged = geometry_.merged();
  const GroupNumber group = merged.group_of(begin);
  const BlockRange blocks = merged.blocks_of(group);
  end = std::min(end, blocks.end);
  const ConstByteSpan own = layer_.own_blocks().of(group);
  if (!own.empty()) {
    return own_run(begin, end, own, blocks.begin);
  }
  const SessionBitmap::BitRun written = bitmap().run_at(begin, end);
  if (!written.is_set) {
    return below_run(begin, written.end);
  }
  Run run;
  run.source = Source::kUpper;
  run.end = written.end;
  run.offset = begin.value() * block_size_;
  return run;
}

// In a group where the layer owns blocks; `first` is the group's first block.
Run MergedView::own_run(BlockNumber begin, BlockNumber end, ConstByteSpan own,
                        BlockNumber first) const {
  const auto& table = layer_.tables().translated;
  const size_t index = layer_.translated_at_or_after(begin);
  Run run;
  if (index < table.size() && table[index].block == begin) {
    run.end = begin + 1;
    run.translated = index;
    run.source = bitmap().test(begin) ? Source::kUpper : Source::kSynthesizedTranslated;
    run.offset = area_.translated_blocks.offset + index * block_size_;
    return run;
  }
  if (index < table.size()) {
    end = std::min(end, table[index].block);
  }
  const SessionBitmap::BitRun written = bitmap().run_at(begin, end);
  end = written.end;
  if (!written.is_set && !test_bit(own, begin - first)) {
    return below_run(begin, first + find_set_bit(own, begin - first, end - first));
  }
  run.source = Source::kUpper;
  run.offset = begin.value() * block_size_;
  run.end = written.is_set ? end : first + find_clear_bit(own, begin - first, end - first);
  return run;
}

Home MergedView::home_of(BlockNumber begin, BlockNumber end) const {
  const FixedRange* range = geometry_.fixed_at_or_after(begin);
  if (range != nullptr && range->blocks.contains(begin)) {
    return {std::min(end, range->blocks.end), fixed_home(*range, begin), false};
  }
  if (range != nullptr) {
    end = std::min(end, range->blocks.begin);
  }
  const auto& table = layer_.tables().translated;
  size_t index = layer_.translated_at_or_after(begin);
  if (index < table.size() && table[index].block == begin) {
    return {begin + 1, area_.translated_blocks.offset + index * block_size_, false};
  }
  if (index < table.size()) {
    end = std::min(end, table[index].block);
  }
  return {end, begin.value() * block_size_, true};
}

Result<void> MergedView::synthesize(const Run& run, BlockNumber block, size_t skip,
                                    ByteSpan out) const {
  std::array<std::byte, ext2::kMaxBlockSizeBytes> scratch;
  const bool is_whole = out.size() == block_size_;
  const ByteSpan target = is_whole ? out : ByteSpan(scratch).first(block_size_);
  UNIONFS_TRY(run.source == Source::kSynthesizedFixed
                  ? synthesis_.fixed_block(*run.fixed, block, target)
                  : synthesis_.translated_block(run.translated, target));
  if (!is_whole) {
    std::memcpy(out.data(), scratch.data() + skip, out.size());
  }
  return {};
}

Result<void> MergedView::read(uint64_t offset, ByteSpan buffer) const {
  std::array<ReadRange, BatchReader::kMaxBatch> waiting;
  size_t waiting_count = 0;
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
      // What is at hand is copied now; the rest goes out in one batch.
      const ReadableFile& file = run.source == Source::kLower ? lower_ : upper_;
      const uint64_t file_offset = run.offset + skip;
      const size_t got = file.read_cached(file_offset, piece);
      if (got < length) {
        waiting[waiting_count++] = {&file, file_offset + got, piece.subspan(got)};
      }
      if (waiting_count == waiting.size()) {
        UNIONFS_TRY(reader_.read(waiting));
        waiting_count = 0;
      }
    } else {
      UNIONFS_TRY(synthesize(run, block, skip, piece));
    }
    offset += length;
    buffer = buffer.subspan(length);
  }
  return reader_.read(std::span(waiting).first(waiting_count));
}

void MergedView::prefetch(uint64_t offset, uint64_t length) const {
  const BlockNumber end_block(divide_round_up(offset + length, block_size_));
  BlockNumber block(offset / block_size_);
  while (block < end_block) {
    const Run run = run_at(block, end_block);
    const uint64_t run_length = (run.end - block) * block_size_;
    if (run.source == Source::kLower) {
      lower_.prefetch(run.offset, run_length);
    } else if (run.source == Source::kUpper) {
      upper_.prefetch(run.offset, run_length);
    }
    block = run.end;
  }
}

}  // namespace unionfs
