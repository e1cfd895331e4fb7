// SPDX-License-Identifier: BSD-3-Clause
//
// A pair of images that a recipe has edited, with checksums made right.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_EDITED_PAIR_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_EDITED_PAIR_H

#include "tests/fuzz/support/edit.h"
#include "tests/fuzz/support/pairs.h"

namespace unionfs::fuzzing {

struct EditedPair {
  const SoundPair* sound = nullptr;
  std::unique_ptr<MemoryFile> lower_file;
  std::unique_ptr<MemoryFile> upper;
  std::vector<EditedRange> lower_edits;
  std::vector<EditedRange> upper_edits;
  std::unique_ptr<LowerImage> lower;  // nothing where the lower is refused, with a clear error
};

// The upper's places come first among the kinds, then those of the lower, which are edited
// where `edits_lower`.  Of the recipe's option the low bits say what else is done: 1 cuts
// the upper, 2 leaves the checksums as they are.
EditedPair edited_pair(const Recipe& recipe, bool edits_lower);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_EDITED_PAIR_H
