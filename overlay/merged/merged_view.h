// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image as a client sees it: for every block, where its bytes come
// from (reading) and where they go (writing).
//
//   reading b:  written in this session -> its home in the upper, raw
//               F-block or translated   -> synthesized
//               own                     -> upper, at the same offset
//               inside the lower        -> lower, at the same offset
//               else                    -> zeros
//   home of b:  F-block -> state area, by rank;  translated -> state area, by
//               index;  else -> upper, at the same offset
#ifndef UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H
#define UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H

#include <atomic>
#include <cstdint>

#include "overlay/host/batch_reader.h"
#include "overlay/merged/synthesis.h"
#include "overlay/upper/session_bitmap.h"

namespace unionfs {

enum class Source : uint8_t {
  kZero,
  kLower,                 // at `offset` of the lower
  kUpper,                 // at `offset` of the upper
  kSynthesizedFixed,      // one block of `fixed`
  kSynthesizedTranslated  // one block, entry `translated` of the layer's table
};

// Blocks from the one asked for up to `end` that have one source.
struct Run {
  Source source = Source::kZero;
  BlockNumber end;
  uint64_t offset = 0;  // bytes, of the run's first block
  const FixedRange* fixed = nullptr;
  size_t translated = 0;
};

// Blocks from the one asked for up to `end` whose homes follow one another.
struct Home {
  BlockNumber end;
  uint64_t offset = 0;   // bytes, in the upper, of the first block
  bool is_data = false;  // a D-block that is not translated
};

// Thread-safe.  Takes no lock and allocates nothing for a read.
class MergedView {
 public:
  MergedView(const Synthesis& synthesis, const ReadableFile& lower, const ReadableFile& upper,
             const StateArea& area, BatchReader& reader);

  // The bitmap must outlive the view; a later call replaces it by one that
  // says the same.
  void set_bitmap(const SessionBitmap* bitmap) { bitmap_.store(bitmap, std::memory_order_release); }

  uint64_t size_bytes() const { return geometry_.size_bytes(); }
  uint32_t block_size_bytes() const { return block_size_; }

  // begin < end <= s_blocks_count for all of these.
  Run run_at(BlockNumber begin, BlockNumber end) const;
  Home home_of(BlockNumber begin, BlockNumber end) const;
  bool is_own(BlockNumber block) const;

  // Any offset and length inside the image.
  Result<void> read(uint64_t offset, ByteSpan buffer) const;
  // Tells the host what will be read soon.
  void prefetch(uint64_t offset, uint64_t length) const;

  // Calls visitor(offset, length, is_hole) -> bool for ascending, adjacent
  // stretches from `offset` on until the range is covered or it returns false.
  template <typename Visitor>
  void for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor) const;

 private:
  Run fixed_run(const FixedRange& range, BlockNumber begin, BlockNumber end) const;
  Run data_run(BlockNumber begin, BlockNumber end) const;
  Run own_run(BlockNumber begin, BlockNumber end, ConstByteSpan own, BlockNumber first) const;
  Run below_run(BlockNumber begin, BlockNumber end) const;
  Result<void> synthesize(const Run& run, BlockNumber block, size_t skip, ByteSpan out) const;
  uint64_t fixed_home(const FixedRange& range, BlockNumber block) const;
  const SessionBitmap& bitmap() const { return *bitmap_.load(std::memory_order_acquire); }
  // Splits a run of a file by its holes.
  template <typename Visitor>
  bool visit_file_extents(const ReadableFile& file, uint64_t file_offset, uint64_t offset,
                          uint64_t length, Visitor& visitor) const;

  const Synthesis& synthesis_;
  const Geometry& geometry_;
  const Layer& layer_;
  const ReadableFile& lower_;
  const ReadableFile& upper_;
  const StateArea& area_;
  BatchReader& reader_;
  const uint32_t block_size_;
  const BlockNumber lower_end_;
  std::atomic<const SessionBitmap*> bitmap_{nullptr};
};

template <typename Visitor>
bool MergedView::visit_file_extents(const ReadableFile& file, uint64_t file_offset, uint64_t offset,
                                    uint64_t length, Visitor& visitor) const {
  while (length > 0) {
    const FileExtent extent = file.extent_at(file_offset);
    const uint64_t piece =
        extent.end > file_offset ? std::min(extent.end - file_offset, length) : length;
    if (!visitor(offset, piece, extent.is_hole)) {
      return false;
    }
    file_offset += piece;
    offset += piece;
    length -= piece;
  }
  return true;
}

template <typename Visitor>
void MergedView::for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor) const {
  const uint64_t end = offset + length;
  const BlockNumber end_block(divide_round_up(end, block_size_));
  while (offset < end) {
    const BlockNumber block(offset / block_size_);
    const uint64_t skip = offset % block_size_;
    const Run run = run_at(block, end_block);
    const uint64_t piece = std::min(run.end.value() * block_size_, end) - offset;
    bool go_on = true;
    switch (run.source) {
      case Source::kZero:
        go_on = visitor(offset, piece, true);
        break;
      case Source::kLower:
        go_on = visit_file_extents(lower_, run.offset + skip, offset, piece, visitor);
        break;
      case Source::kUpper:
        go_on = visit_file_extents(upper_, run.offset + skip, offset, piece, visitor);
        break;
      case Source::kSynthesizedFixed:
      case Source::kSynthesizedTranslated:
        go_on = visitor(offset, piece, false);
        break;
    }
    if (!go_on) {
      return;
    }
    offset += piece;
  }
}

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H
