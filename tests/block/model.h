// SPDX-License-Identifier: BSD-3-Clause
//
// What an exported disk must hold, while it is served, after its server was killed, and after power
// loss.
//
// The caller promises that no two changes, and no change and a read, that are in flight at the same
// time touch the same sector. Then the changes of one sector are ordered, and:
//   - a read sees what the last acknowledged change left;
//   - after the death of the server, what was acknowledged is there, and a change that was in
//   flight happened or did not, sector by sector;
//   - after power loss a sector may hold what it held at the last completed flush, or after any
//   change since, also one in flight.

#ifndef TESTS_BLOCK_MODEL_H
#define TESTS_BLOCK_MODEL_H

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "sector-map.h"

namespace blocktest {

// Not thread-safe.
class DiskModel {
 public:
  enum class PowerLoss : std::uint8_t { ignored, tracked };

  // initial_path holds what the disk held at the beginning. Following power loss costs a second map
  // and a log.
  DiskModel(std::uint64_t size_bytes, std::uint64_t seed, const std::string& initial_path,
            PowerLoss power_loss = PowerLoss::ignored);

  std::uint64_t size_bytes() const { return size_bytes_; }
  std::uint64_t seed() const { return seed_; }
  std::uint64_t acknowledged_count() const { return acknowledged_count_; }
  // Changes that were in flight when a server died.
  std::uint64_t unknown_count() const { return unknown_count_; }

  // A change goes out to the server; the result is its sequence number, which its content follows
  // from.
  std::uint64_t begin(ChangeKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes);
  // The server said it is done; with force_unit_access, that it would survive power loss.
  void acknowledge(std::uint64_t sequence, bool force_unit_access = false);
  // The server refused it in a way that promises that nothing was changed.
  void reject(std::uint64_t sequence);
  bool in_flight(std::uint64_t sequence) const {
    return in_flight_.find(sequence) != in_flight_.end();
  }

  // A flush covers what was acknowledged when it was sent.
  using FlushMark = std::uint64_t;
  FlushMark begin_flush() const { return clock_; }
  void complete_flush(FlushMark mark);

  void kill_server();
  // Only where power loss is tracked.
  void lose_power();

  std::optional<Mismatch> check(std::uint64_t offset_bytes, std::span<const std::uint8_t> bytes);
  std::optional<Mismatch> check_zeros(std::uint64_t offset_bytes, std::uint64_t length_bytes);

  std::size_t content_count(std::uint64_t sector) const { return live_.content_count(sector); }
  std::vector<std::uint64_t> changed_chunks() const { return live_.changed_chunks(); }
  // The chunks with changes begun since the last call.
  std::vector<std::uint64_t> take_recent_chunks();

  // Only what a killed or stopped server leaves behind is kept; nothing may be in flight.
  void save(const std::string& path) const;
  static DiskModel load(const std::string& path);

 private:
  enum class Outcome : std::uint8_t { in_flight, acknowledged, unknown };

  struct Logged {
    Change change;
    Outcome outcome = Outcome::in_flight;
    std::uint64_t settled_at = 0;  // on clock_, once no longer in flight
  };

  void settle(std::uint64_t sequence, Outcome outcome);
  void make_durable(FlushMark mark, std::uint64_t first_sector, std::uint64_t end_sector);
  std::string history_of(std::uint64_t sector) const;

  std::uint64_t size_bytes_;
  std::uint64_t seed_;
  std::string initial_path_;
  PowerLoss power_loss_;
  std::uint64_t next_sequence_ = first_sequence;
  std::uint64_t clock_ = 0;
  std::uint64_t acknowledged_count_ = 0;
  std::uint64_t unknown_count_ = 0;
  SectorMap live_;
  std::map<std::uint64_t, Change> in_flight_;
  std::set<std::uint64_t> recent_chunks_;
  std::deque<Logged> history_;  // the last changes whose outcome is settled, for messages only

  SectorMap flushed_;             // what would survive power loss whatever happens
  std::deque<Logged> unflushed_;  // the changes since, in the order in which they began
};

}  // namespace blocktest

#endif
