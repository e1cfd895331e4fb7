// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/arguments.h"

#include <sys/stat.h>

#include <charconv>

namespace unionfs::img {

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

void add_layer_flag(CLI::App& command, bool& only_layer) {
  command.add_flag("--layer", only_layer,
                   "Show the last checkpoint, without what an open session changed");
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

}  // namespace unionfs::img
