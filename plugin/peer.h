// SPDX-License-Identifier: BSD-3-Clause
//
// Who is at the other end of nbdkit's connection, as far as that can be told.
#ifndef UNIONFS_PLUGIN_PEER_H
#define UNIONFS_PLUGIN_PEER_H

#include "overlay/host/log.h"
#include "overlay/service/writers.h"

namespace unionfs {

// Of this thread's connection; only in nbdkit's .open.  On a Unix socket a process, with the
// time of its start, because numbers are used again.  One in another PID namespace has no
// number here; then all such processes of a user are one peer, which `log` is told once.  On
// TCP and vsock an address, without the port.
Peer current_peer(const LogSink& log);

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_PEER_H
