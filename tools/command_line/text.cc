// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/text.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "fsparse/ext2_format.h"

namespace unionfs::img {
namespace {

// Length of the valid UTF-8 character at the start of the text; 0 if none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  size_t length = 1;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
  } else if (first >= 0x80) {
    return 0;
  }
  if (text.size() < length) {
    return 0;
  }
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) {
      return 0;
    }
  }
  const bool overlong = (first == 0xE0 && byte(1) < 0xA0) || (first == 0xF0 && byte(1) < 0x90);
  const bool beyond = (first == 0xED && byte(1) > 0x9F) || (first == 0xF4 && byte(1) > 0x8F);
  return overlong || beyond ? 0 : length;
}

// Of one character: whether it steers a terminal, or the order in which a line is read.
bool is_control(std::string_view character) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(character[i]); };
  switch (character.size()) {
    case 1:
      return byte(0) < 0x20 || byte(0) == 0x7f;
    case 2:
      return byte(0) == 0xC2 && byte(1) < 0xA0;  // U+0080 to U+009F
    case 3:
      // U+2028 to U+202E and U+2066 to U+2069: ends of lines, and directions.
      return byte(0) == 0xE2 && ((byte(1) == 0x80 && byte(2) >= 0xA8 && byte(2) <= 0xAE) ||
                                 (byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9));
    default:
      return false;
  }
}

}  // namespace
void note(const std::string& message) {
  std::string line = "unionfs-img: ";
  for (const char letter : message) {
    // What an image or a path says must neither end the line nor steer the terminal.
    const auto byte = static_cast<uint8_t>(letter);
    line += byte < 0x20 || byte == 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, letter);
  }
  line += "\n";
  (void)!std::fwrite(line.data(), 1, line.size(), stderr);
}

namespace {

constexpr int kJsonIndent = 2;

std::string json_text(const Json& json) {
  return json.dump(kJsonIndent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

void print_json(const Json& json) {
  fmt::print("{}\n", json_text(json));
}

void JsonArrayPrinter::add(const Json& element) {
  fmt::print("{}", is_empty_ ? "[" : ",");
  is_empty_ = false;
  const std::string text = json_text(element);
  // Inside of strings there are no line ends.
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = std::min(rest.find('\n'), rest.size());
    fmt::print("\n{:{}}{}", "", kJsonIndent, rest.substr(0, length));
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
}

void JsonArrayPrinter::end() {
  fmt::print("{}\n", is_empty_ ? "[]" : "\n]");
}

std::string human_size(uint64_t size_bytes) {
  if (size_bytes < 1024) {
    return fmt::format("{} bytes", size_bytes);
  }
  auto size = static_cast<double>(size_bytes);
  constexpr std::array<const char*, 6> kUnits = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  // 1023.95 would round to 1024.0.
  while (size >= 1023.95 && unit + 1 < kUnits.size()) {
    size /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

std::string printable(std::string_view name) {
  std::string text;
  while (!name.empty()) {
    const size_t length = utf8_length(name);
    const auto first = static_cast<uint8_t>(name[0]);
    if (first == '\\') {
      text += "\\\\";
    } else if (length == 0 || is_control(name.substr(0, length))) {
      for (const char byte : name.substr(0, std::max<size_t>(length, 1))) {
        text += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
      }
    } else {
      text += name.substr(0, length);
    }
    name.remove_prefix(length == 0 ? 1 : length);
  }
  return text;
}

std::string mode_text(uint16_t mode) {
  std::string text = "?rwxrwxrwx";
  constexpr std::array<std::pair<uint16_t, char>, 7> kTypes = {{{ext2::kModeFifo, 'p'},
                                                                {ext2::kModeCharDevice, 'c'},
                                                                {ext2::kModeDirectory, 'd'},
                                                                {ext2::kModeBlockDevice, 'b'},
                                                                {ext2::kModeRegular, '-'},
                                                                {ext2::kModeSymlink, 'l'},
                                                                {ext2::kModeSocket, 's'}}};
  for (const auto& [type, letter] : kTypes) {
    if ((mode & ext2::kModeTypeMask) == type) {
      text[0] = letter;
    }
  }
  for (size_t i = 0; i < 9; ++i) {
    if ((mode >> (8 - i) & 1) == 0) {
      text[i + 1] = '-';
    }
  }
  const auto special = [&text](bool is_set, size_t place, char with, char without) {
    if (is_set) {
      text[place] = text[place] == 'x' ? with : without;
    }
  };
  special((mode & S_ISUID) != 0, 3, 's', 'S');
  special((mode & S_ISGID) != 0, 6, 's', 'S');
  special((mode & S_ISVTX) != 0, 9, 't', 'T');
  return text;
}

const char* type_name(uint8_t file_type) {
  switch (file_type) {
    case ext2::kFileTypeRegular:
      return "file";
    case ext2::kFileTypeDirectory:
      return "directory";
    case ext2::kFileTypeCharDevice:
      return "character device";
    case ext2::kFileTypeBlockDevice:
      return "block device";
    case ext2::kFileTypeFifo:
      return "fifo";
    case ext2::kFileTypeSocket:
      return "socket";
    case ext2::kFileTypeSymlink:
      return "symlink";
    default:
      return "unknown";
  }
}

}  // namespace unionfs::img
