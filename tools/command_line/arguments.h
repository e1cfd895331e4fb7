// SPDX-License-Identifier: BSD-3-Clause
//
// What nearly every command takes, and what arguments may say.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_ARGUMENTS_H
#define UNIONFS_TOOLS_COMMAND_LINE_ARGUMENTS_H

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "fsparse/result.h"
#include "overlay/stack/chain.h"

namespace unionfs::img {

// What nearly every command takes.
struct CommonArguments {
  LevelPaths levels;  // what is below, the lowest first; empty: not given
  std::string upper;
  bool as_json = false;
};

enum class LowerArgument { kRequired, kOptional };

// Adds an option that is given once for each level, the lowest first.
CLI::Option* add_levels(CLI::App& command, const std::string& names, LevelPaths& levels,
                        const std::string& description);
// What is given must be a file's name: an NBD address is refused.  Gives the option back.
CLI::Option* names_file(CLI::Option* option);
// Adds -b and UPPER.
void add_images(CLI::App& command, CommonArguments& arguments, LowerArgument lower);
// The same, and --output.
void add_common(CLI::App& command, CommonArguments& arguments, LowerArgument lower);
// Adds --output.
void add_output_format(CLI::App& command, bool& as_json);
// Adds SOURCE..., and behind it `result`: the name of what the command makes is the last of
// `files`.
void add_sources(CLI::App& command, std::vector<std::string>& files, const std::string& result,
                 const std::string& description);
// kInvalid when there is no source beside it, or when the result is no file's name.
Result<void> check_sources(const std::vector<std::string>& files, const std::string& result);
// Adds --layer.
void add_layer_flag(CLI::App& command, bool& only_layer);
// "20G", "512M", "4096": bytes.  kInvalid when it is not that.
Result<uint64_t> parse_size(const std::string& text);

// The environment's SOURCE_DATE_EPOCH: https://reproducible-builds.org/specs/source-date-epoch/
Result<std::optional<int64_t>> source_date_epoch();

// kInvalid when there is something under this name.
Result<void> check_absent(const std::string& path);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_ARGUMENTS_H
