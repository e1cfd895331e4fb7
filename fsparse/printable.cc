// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/printable.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace unionfs {
namespace {

struct CodePoint {
  uint32_t value = 0;
  size_t byte_count = 0;  // 0: the text does not begin with one in valid UTF-8
};

// The shortest form alone is valid, and no surrogates.
CodePoint first_code_point(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) {
    return {first, 1};
  }
  CodePoint point;
  uint32_t least = 0;
  if ((first & 0xE0) == 0xC0) {
    point = {first & 0x1Fu, 2};
    least = 0x80;
  } else if ((first & 0xF0) == 0xE0) {
    point = {first & 0x0Fu, 3};
    least = 0x800;
  } else if ((first & 0xF8) == 0xF0) {
    point = {first & 0x07u, 4};
    least = 0x10000;
  }
  if (point.byte_count == 0 || text.size() < point.byte_count) {
    return {};
  }
  for (size_t i = 1; i < point.byte_count; ++i) {
    if ((byte(i) & 0xC0) != 0x80) {
      return {};
    }
    point.value = point.value << 6 | (byte(i) & 0x3F);
  }
  const bool is_surrogate = point.value >= 0xD800 && point.value <= 0xDFFF;
  return point.value < least || point.value > 0x10FFFF || is_surrogate ? CodePoint{} : point;
}

struct CodePointRange {
  uint32_t first;
  uint32_t last;
};

// Of Unicode's categories Cc, Cf, Zl and Zp, and fillers that show nothing.
constexpr std::array<CodePointRange, 18> kHidden = {{{0x00, 0x1F},      // C0
                                                     {0x7F, 0x9F},      // DEL, C1
                                                     {0xAD, 0xAD},      // soft hyphen
                                                     {0x034F, 0x034F},  // grapheme joiner
                                                     {0x0600, 0x0605},
                                                     {0x061C, 0x061C},  // Arabic letter mark
                                                     {0x06DD, 0x06DD},
                                                     {0x070F, 0x070F},
                                                     {0x115F, 0x1160},  // Hangul fillers
                                                     {0x17B4, 0x17B5},
                                                     {0x180B, 0x180F},  // Mongolian selectors
                                                     {0x200B, 0x200F},  // zero width, directions
                                                     {0x2028, 0x202E},  // line ends, directions
                                                     {0x2060, 0x206F},  // the same once more
                                                     {0x3164, 0x3164},  // Hangul filler
                                                     {0xFEFF, 0xFEFF},  // byte order mark
                                                     {0xFFF9, 0xFFFB},  // annotations
                                                     {0xE0000, 0xE0FFF}}};  // tags

bool is_hidden(uint32_t code_point) {
  return std::any_of(kHidden.begin(), kHidden.end(), [code_point](const CodePointRange& range) {
    return code_point >= range.first && code_point <= range.last;
  });
}

// `doubled` and `hidden` are characters of ASCII, or 0.
std::string escaped(std::string_view bytes, char doubled, char hidden) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const CodePoint point = first_code_point(bytes);
    const size_t length = std::max<size_t>(point.byte_count, 1);
    const bool is_shown =
        point.byte_count != 0 && !is_hidden(point.value) && (hidden == 0 || bytes[0] != hidden);
    if (is_shown) {
      text += bytes.substr(0, length);
      text += doubled != 0 && bytes[0] == doubled ? std::string(1, doubled) : "";
    } else {
      for (const char byte : bytes.substr(0, length)) {
        text += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
      }
    }
    bytes.remove_prefix(length);
  }
  return text;
}

}  // namespace

std::string printable(std::string_view name) {
  return escaped(name, '\\', 0);
}

std::string quoted_name(std::string_view name) {
  return '"' + escaped(name, '\\', '"') + '"';
}

// In $'...' a backslash and \xNN mean to bash what they mean in printable().
std::string shell_word(std::string_view name) {
  const auto is_plain = [](char byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') ||
           std::string_view("/._-+=:,@%").find(byte) != std::string_view::npos;
  };
  if (!name.empty() && std::all_of(name.begin(), name.end(), is_plain)) {
    return std::string(name);
  }
  const std::string text = escaped(name, '\\', '\'');
  const bool has_escapes = text.find('\\') != std::string::npos;
  return (has_escapes ? "$'" : "'") + text + "'";
}

std::string printable_line(std::string_view message) {
  return escaped(message, 0, 0);
}

std::string hex_text(std::span<const uint8_t> bytes) {
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace unionfs
