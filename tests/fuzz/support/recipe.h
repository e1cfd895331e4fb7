// SPDX-License-Identifier: BSD-3-Clause
//
// What an input of a fuzz target says.  Images are too large for inputs, so an input is a
// recipe: which sound pair of images to take, and a list of steps.  A step is an edit of an
// image or a request of a client; each target has a list of the kinds it knows.
//
//   base | option | seed (2 bytes) | step (12 bytes) | step | ...
//
// Every string of bytes is a recipe.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_RECIPE_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_RECIPE_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fsparse/little_endian.h"

namespace unionfs::fuzzing {

// What the numbers mean depends on the kind: see edit.h and the targets.
struct RecipeStep {
  uint8_t kind;
  uint8_t how;
  Le16 where;
  Le32 which;
  Le32 value;
};
static_assert(sizeof(RecipeStep) == 12 && alignof(RecipeStep) == 1);

struct Recipe {
  uint8_t base = 0;
  uint8_t option = 0;
  uint16_t seed = 0;
  std::vector<RecipeStep> steps;
};

// More steps than this are ignored.
constexpr size_t kMaxSteps = 40;

Recipe parse_recipe(const uint8_t* data, size_t size);

// For LLVMFuzzerCustomMutator() and LLVMFuzzerCustomCrossOver(): change whole steps and
// numbers in them, and never where a step begins.  Both return the new size.
size_t mutate_recipe(uint8_t* data, size_t size, size_t max_size, unsigned seed);
size_t cross_recipes(const uint8_t* first, size_t first_size, const uint8_t* second,
                     size_t second_size, uint8_t* out, size_t max_size, unsigned seed);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_RECIPE_H
