// SPDX-License-Identifier: BSD-3-Clause
//
// An NBD client with several connections and many requests in flight, which holds every answer
// against the model.

#ifndef TESTS_BLOCK_CLIENT_H
#define TESTS_BLOCK_CLIENT_H

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "model.h"

struct nbd_handle;

namespace blocktest {

// The server did what it must not do: the test failed.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class RequestKind : std::uint8_t {
  read,
  write,
  write_of_zeros,
  zero,
  trim,
  flush,
  cache,
  block_status
};

struct Request {
  RequestKind kind = RequestKind::read;
  unsigned connection = 0;
  std::uint64_t offset_bytes = 0;
  std::uint32_t length_bytes = 0;
  bool force_unit_access = false;
  bool no_hole = false;     // zero only
  bool fast_zero = false;   // zero only
  bool one_extent = false;  // block_status only
};

// What the server offers.
struct Abilities {
  std::uint64_t size_bytes = 0;
  bool read_only = false;
  bool flush = false;
  bool force_unit_access = false;
  bool zero = false;
  bool fast_zero = false;
  bool trim = false;
  bool cache = false;
  bool block_status = false;
  bool multi_connection = false;
};

struct Counters {
  std::uint64_t requests = 0;
  std::uint64_t bytes_compared = 0;
  std::uint64_t bytes_changed = 0;
  std::uint64_t extents = 0;
  std::uint64_t fast_zeroes_refused = 0;
  std::uint64_t reconnections = 0;
};

// Not thread-safe: one thread keeps all connections busy; what runs side by side are the server's
// threads.
class Client {
 public:
  // The model outlives the client.
  Client(std::string uri, unsigned connection_count, DiskModel& model);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Connects, trying again while the server is not there, until the time is over: then false.
  bool connect(std::chrono::milliseconds patience);
  void disconnect();

  // Sends a request, first waiting for those in flight that share a sector with it unless both only
  // read. Once the connection is lost it does nothing, and lost() tells so.
  void submit(const Request& request);
  // Handles what arrives within the time; at once if something is there.
  void step(std::chrono::milliseconds timeout);
  // Waits for all answers.
  void drain();

  bool lost() const { return lost_; }
  // After the server's death: takes the answers it still sent, tells the model about the rest, and
  // closes the connections.
  void bury();

  // Reads the ranges [offset, offset + length) and compares. Returns false if the connection was
  // lost meanwhile.
  bool verify(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  bool verify_chunks(const std::vector<std::uint64_t>& chunk_offsets);

  const Abilities& abilities() const { return abilities_; }
  const Counters& counters() const { return counters_; }

 private:
  struct Operation;

  nbd_handle* open_connection(bool first);
  void check_abilities(nbd_handle* handle);
  bool conflicts(const Request& request) const;
  std::int64_t issue(Operation& operation);
  void finish_completed();
  void finish(Operation& operation);
  void check_extents(const Operation& operation);
  void fail(const Operation& operation, const std::string& what) const;
  bool all_dead() const;
  void close_all();

  std::string uri_;
  unsigned connection_count_;
  DiskModel& model_;
  std::vector<nbd_handle*> handles_;
  std::vector<std::unique_ptr<Operation>> in_flight_;
  std::uint64_t in_flight_bytes_ = 0;
  bool lost_ = false;
  Abilities abilities_;
  Counters counters_;
};

}  // namespace blocktest

#endif
