// SPDX-License-Identifier: BSD-3-Clause
//
// What nearly every command takes, and what arguments may say.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_ARGUMENTS_H
#define UNIONFS_TOOLS_COMMAND_LINE_ARGUMENTS_H

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "fsparse/result.h"

namespace unionfs::img {

// What nearly every command takes.
struct CommonArguments {
  std::string lower;  // empty: not given
  std::string upper;
  bool as_json = false;
};

enum class LowerArgument { kRequired, kOptional };

// Adds -b, --output and UPPER.
void add_common(CLI::App& command, CommonArguments& arguments, LowerArgument lower);
// Adds --layer.
void add_layer_flag(CLI::App& command, bool& only_layer);
// "20G", "512M", "4096": bytes.  kInvalid when it is not that.
Result<uint64_t> parse_size(const std::string& text);

// kInvalid when there is something under this name.
Result<void> check_absent(const std::string& path);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_ARGUMENTS_H
