// SPDX-License-Identifier: BSD-3-Clause
//
// What tests say about results and errors.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_EXPECT_H
#define UNIONFS_TESTS_UNIT_SUPPORT_EXPECT_H

#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <utility>

#include "fsparse/image.h"
#include "fsparse/result.h"

namespace unionfs::testing {

// Tests are not optimized, and compare whole images: memcmp() is fast all the same.
inline bool is_same_bytes(ConstByteSpan a, ConstByteSpan b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// The value, or a failed test with the error's message.
template <typename T>
T value_of(Result<T> result) {
  if (!result) {
    FAIL("error: " << result.error().message);
  }
  return std::move(*result);
}

inline void expect_success(const Result<void>& result) {
  if (!result) {
    FAIL("error: " << result.error().message);
  }
}

// The kind of the error; a failed test if there is none, or its message lacks one of the parts.
template <typename T>
ErrorKind expect_error(const Result<T>& result, std::initializer_list<std::string> parts) {
  if (result) {
    FAIL("no error");
  }
  for (const std::string& part : parts) {
    CHECK_THAT(result.error().message, Catch::Contains(part));
  }
  CHECK(result.error().error_number != 0);
  return result.error().kind;
}

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_EXPECT_H
