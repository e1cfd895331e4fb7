// SPDX-License-Identifier: BSD-3-Clause
//
// Where the bytes of merged blocks are to be had.
#ifndef UNIONFS_OVERLAY_MERGED_BLOCK_SOURCE_H
#define UNIONFS_OVERLAY_MERGED_BLOCK_SOURCE_H

#include <cstddef>
#include <cstdint>

#include "overlay/geometry/geometry.h"
#include "overlay/host/file.h"

namespace unionfs {

class Synthesis;

enum class Source : uint8_t {
  kZero,
  kLower,                  // a file of a level below
  kUpper,                  // the layer's own file: home
  kSynthesizedFixed,       // one block of `fixed`
  kSynthesizedTranslated,  // one block, entry `translated` of a layer's table
};

// Blocks from the one asked for up to `end` that have one source.  A value; what it points to
// is that of the view or of the levels it is from.
struct BlockSource {
  Source source = Source::kZero;
  BlockNumber end;
  const ReadableFile* file = nullptr;    // kLower, kUpper: at `offset`
  uint64_t offset = 0;                   // bytes, of the first block
  const Synthesis* synthesis = nullptr;  // kSynthesized...: whose, as the levels below compute too
  const FixedRange* fixed = nullptr;
  size_t translated = 0;

  static BlockSource zeros(BlockNumber end) { return {Source::kZero, end}; }
  static BlockSource in_file(Source source, BlockNumber end, const ReadableFile& file,
                             uint64_t offset) {
    return {source, end, &file, offset};
  }
  static BlockSource of_fixed(BlockNumber end, const Synthesis& synthesis,
                              const FixedRange& fixed) {
    return {Source::kSynthesizedFixed, end, nullptr, 0, &synthesis, &fixed};
  }
  static BlockSource of_translated(BlockNumber end, const Synthesis& synthesis, size_t index) {
    return {Source::kSynthesizedTranslated, end, nullptr, 0, &synthesis, nullptr, index};
  }
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_BLOCK_SOURCE_H
