// SPDX-License-Identifier: BSD-3-Clause
//
// How the file system test programs write names and errors: one line of plain
// ASCII per fact, so that two runs can be compared with cmp and read with diff.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace fstest {

// Blanks, backslashes and everything that is not printable ASCII become \xHH;
// an empty string becomes \x (which nothing else yields).
inline std::string escape(std::string_view text) {
  if (text.empty()) return "\\x";
  std::string out;
  for (char c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && byte != '\\')
      out += c;
    else
      out += fmt::format("\\x{:02x}", byte);
  }
  return out;
}

inline std::string error_name(int error_number) {
  char const* name = ::strerrorname_np(error_number);
  return name != nullptr ? name : fmt::format("errno{}", error_number);
}

}  // namespace fstest
