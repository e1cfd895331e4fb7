// SPDX-License-Identifier: BSD-3-Clause
//
// What nbdkit was told, but tells a plugin only when a client comes.
#ifndef UNIONFS_PLUGIN_SERVER_OPTIONS_H
#define UNIONFS_PLUGIN_SERVER_OPTIONS_H

#include <string>
#include <vector>

namespace unionfs {

// Whether a command line of nbdkit has -r or --readonly.  Where that is not sure, the
// answer is true, so that false means that the server may write.
bool may_be_read_only(const std::vector<std::string>& arguments);

// The same of this process, from /proc/self/cmdline.
bool may_server_be_read_only();

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_SERVER_OPTIONS_H
