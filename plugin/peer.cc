// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/peer.h"

#define NBDKIT_API_VERSION 2
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <nbdkit-plugin.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>

#include "fsparse/result.h"
#include "overlay/host/process.h"

namespace unionfs {
namespace {

Peer process_peer(const LogSink& log) {
  Peer peer;
  const int64_t user = nbdkit_peer_uid();
  peer.process = nbdkit_peer_pid();
  if (peer.process > 0) {
    peer.started_at = process_start_time(peer.process);
    peer.key = fmt::format("process {} {} {}", user, peer.process, peer.started_at);
    peer.description = fmt::format("process {} of user {}", peer.process, user);
    return peer;
  }
  static std::atomic<bool> is_told{false};
  if (!is_told.exchange(true)) {
    log("a client's process is in another PID namespace, so it has no number here: all such "
        "clients of one user count as one, and are not kept from writing at once");
  }
  peer.process = -1;
  peer.key = fmt::format("user {}", user);
  peer.description = fmt::format("a process of user {} in another PID namespace", user);
  return peer;
}

Peer address_peer(const std::string& address) {
  Peer peer;
  peer.key = "address " + address;
  peer.description = "the client at " + address;
  return peer;
}

template <typename Address>
std::string text_of(int family, const Address& address) {
  char text[INET6_ADDRSTRLEN] = {};
  return ::inet_ntop(family, &address, text, sizeof(text)) != nullptr ? text : "an address";
}

}  // namespace

Peer current_peer(const LogSink& log) {
  union {
    sockaddr_storage any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_vm vm;
  } address = {};
  socklen_t length = sizeof(address);
  if (nbdkit_peer_name(reinterpret_cast<sockaddr*>(&address), &length) == -1) {
    return {"unknown", "a client that has no address", -1, 0};
  }
  switch (address.any.ss_family) {
    case AF_UNIX:
      return process_peer(log);
    case AF_INET:
      return address_peer(text_of(AF_INET, address.v4.sin_addr));
    case AF_INET6:
      return address_peer(text_of(AF_INET6, address.v6.sin6_addr));
    case AF_VSOCK:
      return address_peer(fmt::format("vsock {}", address.vm.svm_cid));
    default:
      return address_peer(fmt::format("family {}", address.any.ss_family));
  }
}

}  // namespace unionfs
