// SPDX-License-Identifier: BSD-3-Clause
//
// Where what lies in a sound image, so that an edit hits something that matters.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_ATLAS_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_ATLAS_H

#include <array>
#include <cstdint>
#include <vector>

#include "fsparse/superblock.h"
#include "overlay/upper/state_area.h"
#include "tests/unit/support/test_files.h"

namespace unionfs::fuzzing {

enum class PlaceKind : uint8_t {
  // Of an ext2 image.
  kSuperblock,
  kDescriptor,
  kInode,     // the record of an inode that is used
  kPointers,  // an indirect block
  kEntry,     // of a directory: head and name
  kIndex,     // slots of an indexed directory
  kXattr,     // a block of attributes
  kBitmap,
  kFileData,  // a block of a regular file
  // Of a state area.
  kMark,
  kHeader,
  kStamp,
  kTablesHead,
  kTablesElement,
  kSessionBitmap,
  kStateCopy,    // a session's copy of a block
  kJournalHead,  // its header too
  kJournalRun,   // offset and length of a run or a punch
  kJournalData,  // bytes that are to go home
};
constexpr size_t kImagePlaceKinds = 9;
constexpr size_t kPlaceKinds = 19;

struct ImageAtlas {
  std::array<std::vector<FileRange>, kPlaceKinds> places;
  std::vector<uint32_t> blocks;  // numbers of blocks that files have
  std::vector<uint32_t> inodes;  // numbers of inodes that are used
  // Numbers that may be on the edge of something.
  std::vector<uint32_t> extremes;

  const std::vector<FileRange>& of(PlaceKind kind) const {
    return places[static_cast<size_t>(kind)];
  }
};

// Throws where the image is not sound.
ImageAtlas atlas_of(const Image& image, SuperblockUse use);
// The same of an upper, with its state area.
ImageAtlas atlas_of_upper(const testing::MemoryFile& upper);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_ATLAS_H
