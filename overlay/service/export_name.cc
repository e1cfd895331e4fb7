// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/export_name.h"

#include <algorithm>

#include "fsparse/printable.h"

namespace unionfs {
namespace {

constexpr std::string_view kSuffix = ".img";

// What is shown of a name that may have 4,096 bytes.
std::string shortened(std::string_view name) {
  constexpr size_t kShown = 40;
  return name.size() <= kShown ? quoted_name(name)
                               : fmt::format("{}...", quoted_name(name.substr(0, kShown)));
}

Failure refuse(std::string_view name, const char* why) {
  return invalid("the export {}: {}", shortened(name), why);
}

// printable() escapes what is no UTF-8, or no plain text; a backslash is doubled.
bool is_plain_text(std::string_view name) {
  const auto backslashes = static_cast<size_t>(std::count(name.begin(), name.end(), '\\'));
  return printable(name).size() == name.size() + backslashes;
}

}  // namespace

Result<void> check_export_name(std::string_view name) {
  if (name.empty()) {
    return invalid("no export has an empty name");
  }
  if (name.size() > kMaxExportName) {
    return refuse(name, "is longer than 220 bytes");
  }
  if (name.front() == '.') {
    return refuse(name, "begins with a dot");
  }
  if (name.find('/') != std::string_view::npos) {
    return refuse(name, "has a slash");
  }
  if (!is_plain_text(name)) {
    return refuse(name, "is no plain text in UTF-8");
  }
  return {};
}

std::string export_file_of(std::string_view name) {
  return std::string(name).append(kSuffix);
}

bool has_export_suffix(std::string_view file) {
  return file.ends_with(kSuffix);
}

std::optional<std::string> export_of_file(std::string_view file) {
  if (!has_export_suffix(file)) {
    return std::nullopt;
  }
  const std::string_view name = file.substr(0, file.size() - kSuffix.size());
  return check_export_name(name) ? std::optional<std::string>(name) : std::nullopt;
}

}  // namespace unionfs
