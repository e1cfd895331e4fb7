// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/text.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "fsparse/ext2_format.h"
#include "fsparse/printable.h"
#include "tools/command_line/spool.h"

namespace unionfs::img {

void note(const std::string& message) {
  const std::string line = "unionfs-img: " + printable_line(message) + "\n";
  (void)!std::fwrite(line.data(), 1, line.size(), stderr);
}

namespace {

constexpr unsigned kJsonIndent = 2;

std::string json_text(const Json& json) {
  return json.dump(kJsonIndent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

void print_json(const Json& json) {
  fmt::print("{}\n", json_text(json));
}

void JsonArrayPrinter::add(const Json& element) {
  out_.add(is_empty_ ? "[" : ",");
  is_empty_ = false;
  const std::string text = json_text(element);
  // Inside of strings there are no line ends.
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = std::min(rest.find('\n'), rest.size());
    out_.add(fmt::format("\n{:{}}{}", "", kJsonIndent * (depth_ + 1), rest.substr(0, length)));
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
}

void JsonArrayPrinter::end() {
  out_.add(is_empty_ ? "[" : fmt::format("\n{:{}}", "", kJsonIndent * depth_));
  out_.add(depth_ == 0 ? "]\n" : "]");
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
