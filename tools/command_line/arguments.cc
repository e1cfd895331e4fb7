// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/arguments.h"

#include <sys/stat.h>

#include <charconv>
#include <cstdlib>

#include "fsparse/printable.h"
#include "overlay/remote/nbd_uri.h"

namespace unionfs::img {
namespace {

// Its usage line names what comes behind the sources, which CLI11 takes for one of them.
class SourcesFormatter final : public CLI::Formatter {
 public:
  explicit SourcesFormatter(std::string result) : result_(std::move(result)) {}

  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = CLI::Formatter::make_usage(app, std::move(name));
    usage.insert(usage.find_last_not_of('\n') + 1, " " + result_);
    return usage;
  }

 private:
  const std::string result_;
};

// Why the text is no file's name; empty: it may be one.
std::string why_no_file(const std::string& text) {
  return is_nbd_uri(text) ? fmt::format(
                                "{}: a file is needed here; only what is below an upper "
                                "may be at another server",
                                shown_nbd_uri(text))
                          : std::string();
}

}  // namespace

void add_output_format(CLI::App& command, bool& as_json) {
  command
      .add_option_function<std::string>(
          "--output", [&as_json](const std::string& format) { as_json = format == "json"; },
          "How facts are printed")
      ->check(CLI::IsMember({"human", "json"}))
      ->type_name("human|json");
}

CLI::Option* add_levels(CLI::App& command, const std::string& names, LevelPaths& levels,
                        const std::string& description) {
  return command.add_option(names, levels, description)
      ->type_name("LOWER")
      ->allow_extra_args(false);
}

CLI::Option* names_file(CLI::Option* option) {
  return option->check(CLI::Validator(why_no_file, std::string()));
}

void add_images(CLI::App& command, CommonArguments& arguments, LowerArgument lower) {
  CLI::Option* option =
      add_levels(command, "-b,--lower", arguments.levels,
                 "What is below the upper: the lower, then each sealed layer over it");
  if (lower == LowerArgument::kRequired) {
    option->required();
  }
  names_file(command.add_option("UPPER", arguments.upper, "The upper")->required()->type_name(""));
}

void add_common(CLI::App& command, CommonArguments& arguments, LowerArgument lower) {
  add_images(command, arguments, lower);
  add_output_format(command, arguments.as_json);
}

void add_sources(CLI::App& command, std::vector<std::string>& files, const std::string& result,
                 const std::string& description) {
  command.formatter(std::make_shared<SourcesFormatter>(result));
  command.add_option("SOURCE", files, description)->required()->type_name("");
}

Result<void> check_sources(const std::vector<std::string>& files, const std::string& result) {
  if (files.size() < 2) {
    return invalid("only {} is named; it takes at least one SOURCE, and then the {} to make",
                   quoted_name(files.front()), result);
  }
  if (const std::string why = why_no_file(files.back()); !why.empty()) {
    return invalid("{}", why);
  }
  return {};
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

Result<std::optional<int64_t>> source_date_epoch() {
  const char* text = std::getenv("SOURCE_DATE_EPOCH");
  if (text == nullptr || *text == '\0') {
    return std::nullopt;
  }
  const std::string_view digits(text);
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), seconds);
  if (error != std::errc() || end != digits.end()) {
    return invalid("SOURCE_DATE_EPOCH is {}, and not a number of seconds", quoted_name(digits));
  }
  return seconds;
}

Result<void> check_absent(const std::string& path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0) {
    return invalid("{}: exists already", path);
  }
  return {};
}

}  // namespace unionfs::img
