// SPDX-License-Identifier: BSD-3-Clause
//
// One question to the control socket of a server.
#ifndef UNIONFS_TOOLS_CONTROL_CONTROL_CLIENT_H
#define UNIONFS_TOOLS_CONTROL_CONTROL_CLIENT_H

#include <string>
#include <string_view>

#include "fsparse/result.h"

namespace unionfs::img {

// The body of the answer.  What the server refuses is an error with its words: EBUSY for what
// it may do later, else EIO.  A server that is only starting has a second to make its socket.
// `is_quick`: the answer must come within ten seconds, and not when something is done.
Result<std::string> ask_server(const std::string& socket_path, std::string_view method,
                               std::string_view target, std::string_view body, bool is_quick);

// The same in the bytes of an answer; `socket_path` is for messages.
Result<std::string> body_of_answer(const std::string& socket_path, std::string_view answer);

}  // namespace unionfs::img

#endif  // UNIONFS_TOOLS_CONTROL_CONTROL_CLIENT_H
