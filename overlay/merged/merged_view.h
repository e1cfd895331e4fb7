// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image as a client sees it: for every block, where its bytes come
// from (reading) and where they go (writing).
//
//   block               its home, in the upper        read from, until it lies there
//   F-block             state area, by rank           computed, or a level below
//   translated          state area, by index          computed
//   any other D-block   at the same offset            the upper if own, a level below
//                                                     inside it, else zeros
//
// A block that the session wrote lies at home.
#ifndef UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H
#define UNIONFS_OVERLAY_MERGED_MERGED_VIEW_H

#include <atomic>
#include <cstdint>
#include <memory>

#include "overlay/host/batch_reader.h"
#include "overlay/merged/block_source.h"
#include "overlay/merged/flat_runs.h"
#include "overlay/merged/session_runs.h"
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

// Blocks that have one source, and where they go.
struct Run : BlockSource {
  Run(const BlockSource& from, const Place& to) : BlockSource(from), place(to) {}

  Place place;  // of the first block; it reaches as far as the run, or further
};

class MergedView;

// A void level has the size of what it stands on: kCorrupt where it has not.
Result<void> check_size_of_parent(const LayerOverLower& layer, const MergedView& parent);

// Thread-safe, but for flatten() and forget_runs(), of which one call runs at a time.  Takes no
// lock for a read but, over other layers, a short one for a composed block.  Allocates nothing but
// once for a group of a chain or a stretch of frozen sessions, for composed blocks, and for long
// reads of files that are not the host's.
class MergedView {
 public:
  // `written` has a bit for each block that the session wrote; nullptr: there is no
  // session.  `parent` is what a void upper shows where its session wrote nothing; nullptr for
  // any other.  All outlive the view.
  MergedView(const LayerOverLower& layer, const SessionBitmap* written,
             const MergedView* parent = nullptr);

  // The file of its own level, and what it shows where that wrote nothing; see the constructor.
  const ReadableFile& upper_file() const { return upper_; }
  const MergedView* parent() const { return parent_; }

  uint64_t size_bytes() const { return geometry_.size_bytes(); }
  uint32_t block_size_bytes() const { return block_size_; }

  // begin < end <= s_blocks_count for all of these.
  Place place_of(BlockNumber begin, BlockNumber end) const;
  Run run_at(BlockNumber begin, BlockNumber end) const;
  // Whether nobody uses the block's home: plain data, not own, and not written.
  bool is_home_unused(BlockNumber block) const;
  // The stretch from `begin` on, within [begin, end), that this view's own session wrote, or not.
  SessionBitmap::BitRun written_at(BlockNumber begin, BlockNumber end) const {
    return bitmap_ != nullptr ? bitmap_->run_at(begin, end) : SessionBitmap::BitRun{false, end};
  }
  // The stretch from `begin` on, within [begin, end), that the session of one of the parents
  // wrote, or none of them.
  SessionBitmap::BitRun written_by_parents(BlockNumber begin, BlockNumber end) const;

  // From now on neither this session nor one of its parents' changes, so whoever stands on this
  // view finds their blocks by one table.  A second call does nothing.  Reads may go on
  // meanwhile.
  void flatten();
  // Takes that back, and gives the table, if there is one.  Must not run beside anything that reads
  // through this view, or over it.
  std::unique_ptr<const SessionRuns> forget_runs();
  // nullptr where the sessions are asked one by one.
  const SessionRuns* session_runs() const { return runs_.load(std::memory_order_acquire); }

  // Of blocks that this session wrote, or that it did not where there is no parent; for
  // SessionRuns.  A source in the upper is told as Source::kLower, as whoever stands on it knows
  // it.
  BlockSource written_source(BlockNumber begin, BlockNumber end) const;
  BlockSource unwritten_source(BlockNumber begin, BlockNumber end) const;

  // Any offset and length inside the image.
  Result<void> read(uint64_t offset, ByteSpan buffer, ReadBy by = ReadBy::kProgram) const;
  // Tells the host what will be read soon.
  void prefetch(uint64_t offset, uint64_t length) const;

  // Calls visitor(offset, length, is_hole) -> bool for ascending, adjacent
  // stretches from `offset` on until the range is covered or it returns false.
  template <typename Visitor>
  void for_each_extent(uint64_t offset, uint64_t length, Visitor&& visitor) const;

 private:
  Run parent_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  Run unwritten_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  Run below_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  Run data_run(const Place& place, BlockNumber begin, BlockNumber end) const;
  Result<void> synthesize(const Run& run, BlockNumber block, size_t skip, ByteSpan out) const;
  bool has_far_level(const LayerOverLower& layer) const;
  // Splits a run of a file by its holes.
  template <typename Visitor>
  bool visit_file_extents(const ReadableFile& file, uint64_t file_offset, uint64_t offset,
                          uint64_t length, Visitor& visitor) const;

  const Synthesis& synthesis_;
  const Geometry& geometry_;
  const Layer& layer_;
  const ReadableFile& lower_;
  const FlatRuns* const flat_runs_;  // of all levels below; nullptr where that is one plain image
  const ReadableFile& upper_;
  BatchReader& reader_;
  const SessionBitmap* const bitmap_;
  const MergedView* const parent_;
  std::unique_ptr<const SessionRuns> own_runs_;
  std::atomic<const SessionRuns*> runs_{nullptr};  // the same, once they may be used
  const uint64_t fixed_blocks_offset_;             // in the upper
  const uint64_t translated_blocks_offset_;        // in the upper
  const uint32_t block_size_;
  const BlockNumber lower_end_;
  const bool is_far_;  // a level below is no file of the host
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
      case Source::kUpper:
        go_on = visit_file_extents(*run.file, run.offset + skip, offset, piece, visitor);
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
