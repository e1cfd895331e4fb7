// SPDX-License-Identifier: BSD-3-Clause
//
// Edits of images: what a step of a recipe does to bytes.
//
//   kind    which of a list of places, as the target says
//   how     bits 0 to 2: Change; bits 3 and 4: width, 1 to 8 bytes
//   where   the field, in units of its width, in the place
//   which   which place of that kind
//   value   a number, or the index of one
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_EDIT_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_EDIT_H

#include "tests/fuzz/support/atlas.h"
#include "tests/fuzz/support/recipe.h"

namespace unionfs::fuzzing {

// What an edit did.
struct EditedRange {
  PlaceKind kind = PlaceKind::kSuperblock;
  FileRange range;  // empty: nothing, because the image has no such place
};

// Changes bytes of `image`, which the atlas knows.  Does nothing where the image has become
// too short, or has no place of this kind.
EditedRange apply_edit(ByteSpan image, const ImageAtlas& atlas, PlaceKind kind,
                       const RecipeStep& step);
EditedRange apply_edit(testing::MemoryFile& image, const ImageAtlas& atlas, PlaceKind kind,
                       const RecipeStep& step);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_EDIT_H
