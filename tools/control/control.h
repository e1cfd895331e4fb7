// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img --control SOCKET: what a running server is asked for.
#ifndef UNIONFS_TOOLS_CONTROL_CONTROL_H
#define UNIONFS_TOOLS_CONTROL_CONTROL_H

#include "tools/command_line/commands.h"

namespace unionfs::img {

// For the help of the other commands.
void add_control_option(CLI::App& app);
// Whether the command line begins with that option; then these are its commands, and the
// others are not.
bool is_for_server(int argc, const char* const* argv);
void add_control_commands(CLI::App& app, Command& chosen);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_CONTROL_CONTROL_H
