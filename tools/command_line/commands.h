// SPDX-License-Identifier: BSD-3-Clause
//
// The commands of unionfs-img: what each adds to the command line, and the exit statuses.
#ifndef UNIONFS_TOOLS_COMMAND_LINE_COMMANDS_H
#define UNIONFS_TOOLS_COMMAND_LINE_COMMANDS_H

#include <CLI/CLI.hpp>
#include <functional>

#include "fsparse/result.h"

namespace unionfs::img {

// Exit statuses, as in the manual.
constexpr int kExitSuccess = 0;
constexpr int kExitFailure = 1;
constexpr int kExitDamaged = 2;    // check only
constexpr int kExitDifferent = 3;  // diff --exit-code only
constexpr int kExitConflicts = 3;  // rebase only

// A command with its arguments, ready to run; gives the exit status.
using Command = std::function<Result<int>()>;

// Each adds its subcommand, which sets `chosen` once it is parsed.
void add_create(CLI::App& app, Command& chosen);
void add_mkbase(CLI::App& app, Command& chosen);
void add_info(CLI::App& app, Command& chosen);
void add_ls(CLI::App& app, Command& chosen);
void add_diff(CLI::App& app, Command& chosen);
void add_map(CLI::App& app, Command& chosen);
void add_check(CLI::App& app, Command& chosen);
void add_checkpoint(CLI::App& app, Command& chosen);
void add_rebase(CLI::App& app, Command& chosen);
void add_seal(CLI::App& app, Command& chosen);
void add_snapshot(CLI::App& app, Command& chosen);
void add_squash(CLI::App& app, Command& chosen);
void add_convert(CLI::App& app, Command& chosen);
void add_import(CLI::App& app, Command& chosen);
void add_export(CLI::App& app, Command& chosen);
void add_extract(CLI::App& app, Command& chosen);
void add_cat(CLI::App& app, Command& chosen);
void add_trace(CLI::App& app, Command& chosen);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_COMMAND_LINE_COMMANDS_H
