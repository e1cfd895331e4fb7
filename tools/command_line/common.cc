// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/common.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>

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

void add_common(CLI::App& command, CommonArguments& arguments, LowerArgument lower) {
  CLI::Option* option =
      command.add_option("-b,--lower", arguments.lower, "The lower image of the upper")
          ->type_name("LOWER");
  if (lower == LowerArgument::kRequired) {
    option->required();
  }
  command
      .add_option_function<std::string>(
          "--output",
          [&arguments](const std::string& format) { arguments.as_json = format == "json"; },
          "How facts are printed")
      ->check(CLI::IsMember({"human", "json"}))
      ->type_name("human|json");
  command.add_option("UPPER", arguments.upper, "The upper")->required()->type_name("");
}

Result<uint64_t> parse_size(const std::string& text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  unsigned shift = 0;
  if (rest != end) {
    switch (*rest) {
      case 'k':
      case 'K':
        shift = 10;
        break;
      case 'm':
      case 'M':
        shift = 20;
        break;
      case 'g':
      case 'G':
        shift = 30;
        break;
      case 't':
      case 'T':
        shift = 40;
        break;
      default:
        shift = 64;
    }
  }
  const bool is_whole = rest == end || rest + 1 == end;
  if (error != std::errc() || !is_whole || shift == 64 || number > UINT64_MAX >> shift) {
    return invalid("\"{}\" is not a size: a number, with K, M, G or T behind it", text);
  }
  return number << shift;
}

Result<void> check_absent(const std::string& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0) {
    return invalid("{}: exists already", path);
  }
  return {};
}

Result<std::unique_ptr<OpenDisk>> OpenDisk::open(const CommonArguments& arguments) {
  std::unique_ptr<OpenDisk> open(new OpenDisk());
  UNIONFS_ASSIGN(open->lower_file_, PosixFile::open(arguments.lower, FileLock::kShared));
  UNIONFS_ASSIGN(open->lower_, LowerImage::open(*open->lower_file_));
  UNIONFS_ASSIGN(open->upper_file_, PosixFile::open(arguments.upper, FileLock::kShared));
  UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(open->disk_,
                 Disk::load(*open->lower_, *open->upper_file_, std::move(boot_id), note));
  UNIONFS_TRY(open->disk_->attach(Access::kReadOnly));
  return open;
}

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

uint64_t disk_bytes(const PosixFile& file) {
  struct stat status = {};
  constexpr uint64_t kStatUnitBytes = 512;
  return ::fstat(file.descriptor(), &status) == 0
             ? static_cast<uint64_t>(status.st_blocks) * kStatUnitBytes
             : 0;
}

void print_json(const Json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
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

Progress::Progress(std::string what, uint64_t total)
    : what_(std::move(what)), total_(total), is_terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (last_per_mille_ >= 0) {
    (void)std::fputs("\r\033[K", stderr);
  }
}

void Progress::show(uint64_t done) {
  if (!is_terminal_ || total_ == 0) {
    return;
  }
  const int per_mille =
      static_cast<int>(static_cast<double>(done) * 1000 / static_cast<double>(total_));
  if (per_mille != last_per_mille_) {
    last_per_mille_ = per_mille;
    (void)std::fputs(fmt::format("\r{}: {:.1f} %", what_, per_mille / 10.0).c_str(), stderr);
    (void)std::fflush(stderr);
  }
}

}  // namespace unionfs::img
