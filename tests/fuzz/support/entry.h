// SPDX-License-Identifier: BSD-3-Clause
//
// What libFuzzer calls.  Each target includes this once, behind its run(const Recipe&).
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_ENTRY_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_ENTRY_H

#include "tests/fuzz/support/pairs.h"
#include "tests/fuzz/support/recipe.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  (void)unionfs::fuzzing::SoundImages::get();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  unionfs::fuzzing::run(unionfs::fuzzing::parse_recipe(data, size));
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return unionfs::fuzzing::mutate_recipe(data, size, max_size, seed);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* first, size_t first_size,
                                            const uint8_t* second, size_t second_size, uint8_t* out,
                                            size_t max_size, unsigned seed) {
  return unionfs::fuzzing::cross_recipes(first, first_size, second, second_size, out, max_size,
                                         seed);
}

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_ENTRY_H
