// SPDX-License-Identifier: BSD-3-Clause
//
// What nbdkit was told, but tells a plugin only when a client comes.
#ifndef UNIONFS_PLUGIN_SERVER_OPTIONS_H
#define UNIONFS_PLUGIN_SERVER_OPTIONS_H

#include <optional>
#include <string>
#include <vector>

#include "overlay/disk.h"

namespace unionfs {

// What a command line of nbdkit, its name first, allows clients: kReadOnly if it has -r or
// --readonly.  Reads it as nbdkit does, by getopt_long's rules and the options of nbdkit
// 1.32.  Nothing where it has an option that those do not know, because the words behind
// it may mean anything.
std::optional<Access> access_by(const std::vector<std::string>& command_line);

// The same of this process, from /proc/self/cmdline.
std::optional<Access> server_access();

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_SERVER_OPTIONS_H
