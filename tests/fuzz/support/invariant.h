// SPDX-License-Identifier: BSD-3-Clause
//
// What a fuzz target holds the program to, beside that it does not crash.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_INVARIANT_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_INVARIANT_H

#include <stdexcept>
#include <string>
#include <utility>

#include "fsparse/image.h"
#include "fsparse/result.h"

namespace unionfs::fuzzing {

// Says what is not as it must be, and ends the process as a crash does, so that libFuzzer
// keeps the input.
[[noreturn]] void broken(const std::string& what);

// Fails unless an error says something: which image, and not without end.
void expect_clear(const Error& error);

// The value of what cannot fail.
template <typename T>
T wanted(Result<T> result) {
  if (!result) {
    broken("an error where there can be none: " + result.error().message);
  }
  return std::move(*result);
}
inline void wanted(const Result<void>& result) {
  if (!result) {
    broken("an error where there can be none: " + result.error().message);
  }
}

// Whether it went well.  If not, the error is a clear one.
template <typename T>
bool went_well(const Result<T>& result) {
  if (!result) {
    expect_clear(result.error());
  }
  return result.has_value();
}

// Where two images of one size differ, as text; empty where they do not.
std::string first_difference(ConstByteSpan expected, ConstByteSpan found);

// e2fsck -fn must be content with an image of these bytes.  Runs it for one image of many,
// because it takes a hundred times as long as all else; FUZZ_FSCK_EVERY says of how many.
void expect_clean_sometimes(ConstByteSpan image, const std::string& what);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_INVARIANT_H
