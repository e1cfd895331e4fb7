// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image as a client sees it: for every block, where its bytes come
// from (reading) and where they go (writing).
//
//   block               its home, in the upper        read from, until it lies there
//   F-block             state area, by rank           computed, or the level below
//   translated          state area, by index          computed
//   any other D-block   at the same offset            the upper if own, the level below
//                                                     inside it, else zeros
//
// A block that the session wrote lies at home.
#ifndef UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H
#define UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H

#include <cstdint>

#include "overlay/host/batch_reader.h"
#include "overlay/merged/synthesis.h"
#include "overlay/upper/session_bitmap.h"

namespace unionfs {

class LayerOverLower;

// Blocks from the one asked for up to `end` whose homes follow one another.
struct Place {
  enum class Kind : uint8_t { kFixed, kTranslated, kData };

  Kind kind = Kind::kData;
  BlockNumber end;
  uint64_t home = 0;                  // bytes, in the upper, of the first block
  const FixedRange* fixed = nullptr;  // kFixed
  size_t translated = 0;              // kTranslated: index of the layer's table
};

enum class Source : uint8_t {
  kZero,
  kLower,                 // at `offset` of the level below
  kUpper,                 // at `offset` of the upper: home
  kSynthesizedFixed,      // one block of `place.fixed`
  kSynthesizedTranslated  // one block, entry `place.translated` of the layer's table
};

// Blocks from the one asked for up to `end` that have one source.
struct Run {
  Source source = Source::kZero;
  BlockNumber end;
  uint64_t offset = 0;  // bytes, of the run's first block
  Place place;          // of the first block; it reaches as far as the run, or further
};

// Thread-safe.  Takes no lock and allocates nothing for a read.
class MergedView {
 public:
  // `written` has a bit for each block that the session wrote; nullptr: there is no
  // session.  Both outlive the view.
  MergedView(const LayerOverLower& layer, const SessionBitmap* written);

  uint64_t size_bytes() const { return geometry_.size_bytes(); }
  uint32_t block_size_bytes() const { return block_size_; }

  // begin < end <= s_blocks_count for all of these.
  Place place_of(BlockNumber begin, BlockNumber end) const;
  Run run_at(BlockNumber begin, BlockNumber end) const;
  // Whether nobody uses the block's home: plain data, not own, and not written.
  bool is_home_unused(BlockNumber block) const;

  // Any offset and length inside the image.
  Result<void> read(uint64_t offset, ByteSpan buffer) const;
  // Tells the host what will be read soon.
  void prefetch(uint64_t offset, uint64_t length) const;

  // Calls visitor(offset, length, is_hole) -> bool for ascending, adjacent
  // stretches from `offset` on until the range is covered or it returns false.
  template <typename Visitor>
  void for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor) const;

 private:
  Run unwritten_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  Run below_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  Run data_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  SessionBitmap::BitRun written_at(BlockNumber begin, BlockNumber end) const {
    return bitmap_ != nullptr ? bitmap_->run_at(begin, end) : SessionBitmap::BitRun{false, end};
  }
  Result<void> synthesize(const Run& run, BlockNumber block, size_t skip, ByteSpan out) const;
  // Splits a run of a file by its holes.
  template <typename Visitor>
  bool visit_file_extents(const ReadableFile& file, uint64_t file_offset, uint64_t offset,
                          uint64_t length, Visitor& visitor) const;

  const Synthesis& synthesis_;
  const Geometry& geometry_;
  const Layer& layer_;
  const ReadableFile& lower_;
  const ReadableFile& upper_;
  BatchReader& reader_;
  const SessionBitmap* const bitmap_;
  const uint64_t fixed_blocks_offset_;       // in the upper
  const uint64_t translated_blocks_offset_;  // in the upper
  const uint32_t block_size_;
  const BlockNumber lower_end_;
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
