// SPDX-License-Identifier: BSD-3-Clause
//
// The state area of an upper: its mark, its header and where its sections lie.
#ifndef UNIONFS_OVERLAY_UPPER_STATE_AREA_H
#define UNIONFS_OVERLAY_UPPER_STATE_AREA_H

#include <optional>
#include <string>

#include "fsparse/superblock.h"
#include "overlay/geometry/geometry.h"
#include "overlay/host/file.h"
#include "overlay/upper/upper_format.h"

namespace unionfs {

// Bytes [offset, offset + length) of the upper.
struct FileRange {
  uint64_t offset = 0;
  uint64_t length = 0;

  uint64_t end() const { return offset + length; }
};

// The header, decoded.
struct StateArea {
  uint64_t offset = 0;  // of the state area in the upper
  uint64_t generation = 0;
  uint64_t session_number = 0;
  uint32_t flags = 0;  // upper_format::kFlag...
  upper_format::LowerIdentity lower = {};
  FileRange durable_bitmap;
  FileRange live_bitmap;
  FileRange fixed_blocks;
  FileRange layer_tables;
  FileRange translated_blocks;
  FileRange journal;  // empty, or a committed checkpoint that is not home yet

  uint64_t stamp_offset() const { return offset + upper_format::kStampOffset; }
  // Where the file ends.
  uint64_t end() const { return translated_blocks.end(); }
};

// Where the state area lies, from the mark of the upper's superblock; nothing
// if there is no mark (a foreign upper, or no upper at all).  `name` is the
// upper's, for messages.
Result<std::optional<uint64_t>> state_offset_of(const std::string& name,
                                                const ext2::Superblock& superblock);
// The same of an upper that must have one.
Result<uint64_t> required_state_offset_of(const std::string& name,
                                          const ext2::Superblock& superblock);
void set_mark(ext2::Superblock& superblock, uint64_t state_offset);

// Bytes of one of the two session bitmaps.
uint64_t bitmap_size_bytes(const Geometry& geometry);

// Lays out a new state area behind the merged image, and not before
// `least_offset`.
StateArea plan_state_area(const Geometry& geometry, uint64_t layer_tables_bytes,
                          uint64_t translated_count, uint64_t least_offset);

// Reads the header that counts, and checks every number in it against the
// file's size.  kCorrupt when neither slot holds a valid one.
struct StateHeader {
  StateArea area;
  uint64_t merged_block_count = 0;
  uint32_t block_size_bytes = 0;
};
Result<StateHeader> read_state_header(const ReadableFile& upper, uint64_t state_offset);
// Checks what the header says of the merged image against the layer's
// superblock: the two are written together.
Result<void> check_merged_size(const std::string& name, const StateHeader& header,
                               const Layout& upper);
// Checks that the sections are as long as this geometry needs.
Result<void> check_sections(const std::string& name, const StateHeader& header,
                            const Geometry& geometry);
// The header's bytes, but for generation and checksum.
upper_format::Header encode_header(const StateArea& area, const Geometry& geometry);
// Writes a header with the next generation into the slot that does not count;
// the caller syncs.
Result<void> write_header(ByteSink& upper, upper_format::Header raw, uint64_t generation);
// Both for this area, whose generation is raised.
Result<void> write_state_header(WritableFile& upper, StateArea& area, const Geometry& geometry);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_STATE_AREA_H
