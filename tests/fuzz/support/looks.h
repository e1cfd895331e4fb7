// SPDX-License-Identifier: BSD-3-Clause
//
// Looking at all of a disk, in more than one way, and whether the ways agree.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_LOOKS_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_LOOKS_H

#include <string>
#include <vector>

#include "overlay/disk.h"
#include "tests/fuzz/support/edit.h"
#include "tests/fuzz/support/pairs.h"

namespace unionfs::fuzzing {

// What a disk shows, block by block.
struct ShownBlocks {
  std::vector<std::byte> bytes;   // zeros where a block cannot be read
  std::vector<bool> is_readable;  // of each block
  std::string first_error;        // what is said of the first that cannot

  bool is_whole() const;
  bool operator==(const ShownBlocks& other) const {
    return bytes == other.bytes && is_readable == other.is_readable;
  }
};

// Reads every block by itself, and then all of them in large requests: these give the same,
// and fail only where a block of theirs does.
ShownBlocks look_at_all(const Disk& disk);

// Extents cover the disk, follow one another, and what is a hole reads as zeros.
void expect_right_extents(const Disk& disk, const ShownBlocks& shown);

// What no edit went near is as it was in the sound pair: plain blocks of data, where only
// files and names were edited, of the lower (`lower_edits`) and of the upper.
void expect_untouched(const Disk& disk, const SoundPair& pair, const ShownBlocks& shown,
                      const std::vector<EditedRange>& lower_edits,
                      const std::vector<EditedRange>& upper_edits);

// Opens for looking; nothing, with a clear error, where that is refused.
std::unique_ptr<Disk> open_to_look(const Below& lower, WritableFile& upper);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_LOOKS_H
