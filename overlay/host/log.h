// SPDX-License-Identifier: BSD-3-Clause
//
// Where the overlay's log lines go: its user decides.
#ifndef UNIONFS_OVERLAY_HOST_LOG_H
#define UNIONFS_OVERLAY_HOST_LOG_H

#include <functional>
#include <string>

namespace unionfs {

// Is called with one line, without its end, about something that the user should
// know but need not act on.  Must be safe for concurrent calls by multiple
// threads.
using LogSink = std::function<void(const std::string&)>;

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_LOG_H
