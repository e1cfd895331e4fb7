// SPDX-License-Identifier: BSD-3-Clause
//
// The state area of an upper: its mark, its header and where its sections lie.
#ifndef UNIONFS_OVERLAY_UPPER_STATE_AREA_H
#define UNIONFS_OVERLAY_UPPER_STATE_AREA_H

#include <optional>
#include <string>
#include <vector>

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

// The feature words of the header, and the bytes that features which are not
// known keep there.  All zero in version 1.
struct StateFeatures {
  uint32_t compat = 0;
  uint32_t incompat = 0;
  uint32_t ro_compat = 0;
  std::array<uint8_t, sizeof(upper_format::Header::reserved)> bytes = {};
};

// Each bit by its name.  A bit that this program does not know is "FEATURE_C5",
// "FEATURE_I5" or "FEATURE_R5": word and number of the bit, as e2fsprogs say it.
std::vector<std::string> names_of(const StateFeatures& features);

// What the header says of the lower.
struct KnownLower {
  upper_format::LowerIdentity identity = {};
  // Of all groups; 0 without upper_format::kIncompatLowerRecords.
  uint32_t free_blocks_count = 0;
  uint32_t free_inodes_count = 0;
  uint32_t used_dirs_count = 0;
};

// The header, decoded.
struct StateArea {
  uint64_t offset = 0;                        // of the state area in the upper
  uint32_t version = upper_format::kVersion;  // of the header
  StateFeatures features;
  uint64_t generation = 0;
  uint64_t session_number = 0;
  uint32_t flags = 0;               // upper_format::kFlag...
  uint64_t merged_block_count = 0;  // of the merged image
  uint32_t block_size_bytes = 0;    // ... in each of its blocks
  KnownLower lower;
  upper_format::Parent parent = {};     // only with upper_format::kIncompatParent
  upper_format::Seal seal = {};         // only with upper_format::kIncompatSealed
  upper_format::Digest freeze_id = {};  // only with kIncompatFrozen or kIncompatFreezing
  FileRange durable_bitmap;
  FileRange live_bitmap;
  FileRange fixed_blocks;
  FileRange layer_tables;
  FileRange translated_blocks;
  FileRange lower_records;  // only with upper_format::kIncompatLowerRecords
  FileRange journal;        // empty, or a committed checkpoint that is not home yet

  uint64_t stamp_offset() const { return offset + upper_format::kStampOffset; }
  bool has_lower_records() const {
    return (features.incompat & upper_format::kIncompatLowerRecords) != 0;
  }
  bool has_parent() const { return (features.incompat & upper_format::kIncompatParent) != 0; }
  bool is_sealed() const { return (features.incompat & upper_format::kIncompatSealed) != 0; }
  bool is_frozen() const { return (features.incompat & upper_format::kIncompatFrozen) != 0; }
  // Whether a snapshot of it while it was served has not come to its end.
  bool is_freezing() const { return (features.incompat & upper_format::kIncompatFreezing) != 0; }
  // Whether it has no layer of its own, and so no level may be made of it by itself.
  bool is_void() const { return (features.incompat & upper_format::kIncompatVoid) != 0; }
  // What means nothing any more when a new layer takes the place of session and layer.
  std::vector<FileRange> replaced_sections() const;
  // Where the file ends.
  uint64_t end() const {
    return has_lower_records() ? lower_records.end() : translated_blocks.end();
  }
};

// What the mark in the upper's superblock says.
struct StateMark {
  uint64_t state_offset = 0;
  uint32_t version = 0;
};

// Nothing if there is no mark (a foreign upper, or no upper at all).  `name` is
// the upper's, for messages.  kUnsupported for what this program does not know.
Result<std::optional<StateMark>> mark_of(const std::string& name,
                                         const ext2::Superblock& superblock);
// The same of an upper that must have one.
Result<StateMark> required_mark_of(const std::string& name, const ext2::Superblock& superblock);
// Writes a mark of the newest version.
void set_mark(ext2::Superblock& superblock, uint64_t state_offset);
// Makes the mark that is there one of the newest version.
void renew_mark(ext2::Superblock& superblock);

// Bytes of one of the two session bitmaps.
uint64_t bitmap_size_bytes(const Geometry& geometry);

// Lengths that follow from the layer.
struct LayerSections {
  uint64_t layer_tables_bytes = 0;
  uint64_t translated_count = 0;  // blocks
  uint64_t lower_records_bytes = 0;
};

// Lays out a new state area of the newest version behind the merged image, and
// not before `least_offset`.
StateArea plan_state_area(const Geometry& geometry, const LayerSections& sections,
                          uint64_t least_offset);
// Makes the area the newest version's, with room for these sections.
void place_layer_sections(StateArea& area, const LayerSections& sections);

// Reads the header that counts, and checks every number in it against the mark
// and the file's size.  kCorrupt when neither slot holds a valid one,
// kUnsupported when it has something that this program does not know.
Result<StateArea> read_state_area(const ReadableFile& upper, const StateMark& mark);
// Checks what the header says of the merged image against the layer's
// superblock: the two are written together.
Result<void> check_merged_size(const std::string& name, const StateArea& area, const Layout& upper);
// Checks that the sections are as long as this geometry needs.
Result<void> check_sections(const std::string& name, const StateArea& area,
                            const Geometry& geometry);
// kUnsupported for an upper that this program may only read, kInvalid for what is sealed or
// frozen, or is being frozen.
// Whoever is about to change an upper asks first.
Result<void> check_may_write(const std::string& name, const StateArea& area);
// The header's bytes, but for generation and checksum.
upper_format::Header encode_header(const StateArea& area);
// Writes a header with the next generation into the slot that does not count;
// the caller syncs.
Result<void> write_header(ByteSink& upper, upper_format::Header raw, uint64_t generation);
// Both for this area, whose generation is raised.
Result<void> write_state_header(WritableFile& upper, StateArea& area);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_STATE_AREA_H
