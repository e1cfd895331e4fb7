// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/server_options.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>

namespace unionfs {
namespace {

enum class OptionKind { kFlag, kValue, kReadOnly };

struct LongOption {
  std::string_view name;
  OptionKind kind;
};

constexpr LongOption kLongOptions[] = {
    {"debug", OptionKind::kValue},
    {"dump-config", OptionKind::kFlag},
    {"dump-plugin", OptionKind::kFlag},
    {"exit-with-parent", OptionKind::kFlag},
    {"export", OptionKind::kValue},
    {"export-name", OptionKind::kValue},
    {"exportname", OptionKind::kValue},
    {"filter", OptionKind::kValue},
    {"foreground", OptionKind::kFlag},
    {"group", OptionKind::kValue},
    {"help", OptionKind::kFlag},
    {"ip-addr", OptionKind::kValue},
    {"ipaddr", OptionKind::kValue},
    {"ipv4-only", OptionKind::kFlag},
    {"ipv6-only", OptionKind::kFlag},
    {"log", OptionKind::kValue},
    {"long-options", OptionKind::kFlag},
    {"mask-handshake", OptionKind::kValue},
    {"new-style", OptionKind::kFlag},
    {"newstyle", OptionKind::kFlag},
    {"no-fork", OptionKind::kFlag},
    {"no-sr", OptionKind::kFlag},
    {"no-structured-replies", OptionKind::kFlag},
    {"old-style", OptionKind::kFlag},
    {"oldstyle", OptionKind::kFlag},
    {"pid-file", OptionKind::kValue},
    {"pidfile", OptionKind::kValue},
    {"port", OptionKind::kValue},
    {"read-only", OptionKind::kReadOnly},
    {"readonly", OptionKind::kReadOnly},
    {"run", OptionKind::kValue},
    {"selinux-label", OptionKind::kValue},
    {"short-options", OptionKind::kFlag},
    {"single", OptionKind::kFlag},
    {"stdin", OptionKind::kFlag},
    {"swap", OptionKind::kFlag},
    {"threads", OptionKind::kValue},
    {"tls", OptionKind::kValue},
    {"tls-certificates", OptionKind::kValue},
    {"tls-psk", OptionKind::kValue},
    {"tls-verify-peer", OptionKind::kFlag},
    {"unix", OptionKind::kValue},
    {"user", OptionKind::kValue},
    {"verbose", OptionKind::kFlag},
    {"version", OptionKind::kFlag},
    {"vsock", OptionKind::kFlag},
};
constexpr std::string_view kShortFlags = "46fnosvV";
constexpr std::string_view kShortWithValue = "DegipPtuU";

// A name may be cut off where all that begin so mean the same.
std::optional<OptionKind> kind_of(std::string_view name) {
  std::optional<OptionKind> kind;
  for (const LongOption& option : kLongOptions) {
    if (option.name == name) {
      return option.kind;
    }
    if (option.name.substr(0, name.size()) == name) {
      if (kind && *kind != option.kind) {
        return std::nullopt;
      }
      kind = option.kind;
    }
  }
  return kind;
}

class CommandLine {
 public:
  explicit CommandLine(const std::vector<std::string>& words) : words_(words) {}

  std::optional<Access> read() {
    const bool ends_at_first_word = ::getenv("POSIXLY_CORRECT") != nullptr;
    for (; at_ < words_.size() && words_[at_] != "--"; ++at_) {
      const std::string_view word = words_[at_];
      const bool is_option = word.size() > 1 && word[0] == '-';
      if (!is_option && ends_at_first_word) {
        break;
      }
      const bool is_long = word.substr(0, 2) == "--";
      if (is_option && !(is_long ? take_long(word.substr(2)) : take_short(word.substr(1)))) {
        return std::nullopt;
      }
    }
    return is_read_only_ ? Access::kReadOnly : Access::kReadWrite;
  }

 private:
  bool take_long(std::string_view option) {
    const size_t equals = option.find('=');
    const std::optional<OptionKind> kind = kind_of(option.substr(0, equals));
    if (kind == OptionKind::kValue && equals == std::string_view::npos) {
      ++at_;
    }
    is_read_only_ |= kind == OptionKind::kReadOnly;
    return kind.has_value();
  }

  // Of a word as -fr or -rU/socket.
  bool take_short(std::string_view letters) {
    for (size_t index = 0; index < letters.size(); ++index) {
      const char letter = letters[index];
      if (kShortWithValue.find(letter) != std::string_view::npos) {
        at_ += index + 1 == letters.size() ? 1 : 0;
        return true;
      }
      if (letter == 'r') {
        is_read_only_ = true;
      } else if (kShortFlags.find(letter) == std::string_view::npos) {
        return false;
      }
    }
    return true;
  }

  const std::vector<std::string>& words_;
  size_t at_ = 1;  // behind the program's name
  bool is_read_only_ = false;
};

}  // namespace

std::optional<Access> access_by(const std::vector<std::string>& command_line) {
  return command_line.empty() ? std::nullopt : CommandLine(command_line).read();
}

std::optional<Access> server_access() {
  std::ifstream file("/proc/self/cmdline");
  std::vector<std::string> command_line;
  for (std::string word; std::getline(file, word, '\0');) {
    command_line.push_back(word);
  }
  return access_by(command_line);
}

}  // namespace unionfs
