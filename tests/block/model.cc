// SPDX-License-Identifier: BSD-3-Clause

#include "model.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace blocktest {

namespace {

constexpr std::uint64_t state_magic = 0x31544154534b4c42U;  // "BLKSTAT1"
constexpr std::size_t history_limit = 200000;
constexpr std::size_t reported_changes = 12;
constexpr std::uint64_t end_of_disk = std::numeric_limits<std::uint64_t>::max();

struct StateHeader {
  std::uint64_t magic = state_magic;
  std::uint64_t size_bytes = 0;
  std::uint64_t seed = 0;
  std::uint64_t next_sequence = 0;
  std::uint64_t path_length_bytes = 0;
};

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

File open_state(const std::string& path, const char* mode) {
  File file(std::fopen(path.c_str(), mode), &std::fclose);
  if (!file) {
    throw std::runtime_error(fmt::format("{}: {}", path, std::strerror(errno)));
  }
  return file;
}

const char* kind_name(ChangeKind kind) {
  switch (kind) {
    case ChangeKind::write:
      return "write";
    case ChangeKind::zero:
      return "zero";
    case ChangeKind::trim:
      return "trim";
  }
  return "?";
}

bool touches(const Change& change, std::uint64_t first_sector, std::uint64_t end_sector) {
  return change.first_sector() < end_sector && first_sector < change.end_sector();
}

// The part of a change that lies in the sectors.  Every byte keeps its content, because that
// depends on its place alone.
Change clipped(Change change, std::uint64_t first_sector, std::uint64_t end_sector) {
  const std::uint64_t begin_bytes = std::max(change.offset_bytes, first_sector * sector_size_bytes);
  std::uint64_t end_bytes = change.end_bytes();
  if (end_sector < change.end_sector()) {
    end_bytes = end_sector * sector_size_bytes;
  }
  change.offset_bytes = begin_bytes;
  change.length_bytes = end_bytes - begin_bytes;
  return change;
}

}  // namespace

DiskModel::DiskModel(std::uint64_t size_bytes, std::uint64_t seed, const std::string& initial_path,
                     PowerLoss power_loss)
    : size_bytes_(size_bytes),
      seed_(seed),
      initial_path_(initial_path),
      power_loss_(power_loss),
      live_(std::make_shared<InitialContent>(initial_path), seed),
      flushed_(live_) {}

std::uint64_t DiskModel::begin(ChangeKind kind, std::uint64_t offset_bytes,
                               std::uint64_t length_bytes) {
  const Change change = {kind, offset_bytes, length_bytes, next_sequence_++};
  for (const auto& [sequence, other] : in_flight_) {
    if (touches(other, change.first_sector(), change.end_sector())) {
      throw std::logic_error(fmt::format("changes {} and {} share a sector while in flight",
                                         sequence, change.sequence));
    }
  }
  in_flight_.emplace(change.sequence, change);
  const std::uint64_t last_chunk = (change.end_bytes() - 1) / SectorMap::chunk_size_bytes;
  for (std::uint64_t chunk = offset_bytes / SectorMap::chunk_size_bytes; chunk <= last_chunk;
       ++chunk) {
    recent_chunks_.insert(chunk * SectorMap::chunk_size_bytes);
  }
  if (power_loss_ == PowerLoss::tracked) {
    unflushed_.push_back({change, Outcome::in_flight, 0});
  }
  return change.sequence;
}

void DiskModel::settle(std::uint64_t sequence, Outcome outcome) {
  const auto found = in_flight_.find(sequence);
  if (found == in_flight_.end()) {
    throw std::logic_error(fmt::format("change {} is not in flight", sequence));
  }
  ++clock_;
  live_.apply(found->second, outcome == Outcome::unknown);
  history_.push_back({found->second, outcome, clock_});
  if (history_.size() > history_limit) {
    history_.pop_front();
  }
  for (Logged& logged : unflushed_) {
    if (logged.change.sequence == sequence) {
      logged.outcome = outcome;
      logged.settled_at = clock_;
    }
  }
  in_flight_.erase(found);
}

void DiskModel::acknowledge(std::uint64_t sequence, bool force_unit_access) {
  const Change change = in_flight_.at(sequence);
  settle(sequence, Outcome::acknowledged);
  ++acknowledged_count_;
  if (force_unit_access && power_loss_ == PowerLoss::tracked) {
    make_durable(clock_, change.first_sector(), change.end_sector());
  }
}

void DiskModel::reject(std::uint64_t sequence) {
  in_flight_.erase(sequence);
  unflushed_.erase(std::remove_if(unflushed_.begin(), unflushed_.end(),
                                  [sequence](const Logged& logged) {
                                    return logged.change.sequence == sequence;
                                  }),
                   unflushed_.end());
}

void DiskModel::complete_flush(FlushMark mark) {
  if (power_loss_ == PowerLoss::tracked) {
    make_durable(mark, 0, end_of_disk);
  }
}

// Moves what was settled up to the mark from the log into the map of what survives. A write with
// FUA does this for its own sectors only.  What an earlier change did to them reaches the disk with
// it, because a sector is written whole.
void DiskModel::make_durable(FlushMark mark, std::uint64_t first_sector, std::uint64_t end_sector) {
  std::deque<Logged> left;
  for (const Logged& logged : unflushed_) {
    const Change& change = logged.change;
    const bool covered = logged.outcome != Outcome::in_flight && logged.settled_at <= mark;
    if (!covered || !touches(change, first_sector, end_sector)) {
      left.push_back(logged);
      continue;
    }
    flushed_.apply(clipped(change, first_sector, end_sector), logged.outcome == Outcome::unknown);
    if (change.first_sector() < first_sector) {
      left.push_back({clipped(change, 0, first_sector), logged.outcome, logged.settled_at});
    }
    if (end_sector < change.end_sector()) {
      left.push_back({clipped(change, end_sector, end_of_disk), logged.outcome, logged.settled_at});
    }
  }
  unflushed_ = std::move(left);
}

void DiskModel::kill_server() {
  while (!in_flight_.empty()) {
    settle(in_flight_.begin()->first, Outcome::unknown);
    ++unknown_count_;
  }
}

void DiskModel::lose_power() {
  if (power_loss_ != PowerLoss::tracked) {
    throw std::logic_error("power loss is not tracked");
  }
  kill_server();
  // `latest` runs through the states each sector went through; every one of them may be what the
  // disk kept.
  SectorMap latest = flushed_;
  for (const Logged& logged : unflushed_) {
    latest.apply(logged.change, logged.outcome == Outcome::unknown);
    flushed_.allow_also(latest, logged.change.first_sector(), logged.change.end_sector());
  }
  unflushed_.clear();
  live_ = flushed_;
}

std::optional<Mismatch> DiskModel::check(std::uint64_t offset_bytes,
                                         std::span<const std::uint8_t> bytes) {
  auto mismatch = live_.check(offset_bytes, bytes);
  if (mismatch) {
    mismatch->text += history_of(mismatch->sector);
  }
  return mismatch;
}

std::optional<Mismatch> DiskModel::check_zeros(std::uint64_t offset_bytes,
                                               std::uint64_t length_bytes) {
  static constexpr std::array<std::uint8_t, SectorMap::chunk_size_bytes> zeros = {};
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  while (offset_bytes < end_bytes) {
    const std::uint64_t chunk_end_bytes = (offset_bytes / zeros.size() + 1) * zeros.size();
    const std::uint64_t count = std::min(end_bytes, chunk_end_bytes) - offset_bytes;
    if (auto mismatch = check(offset_bytes, std::span(zeros.data(), count))) {
      return mismatch;
    }
    offset_bytes += count;
  }
  return std::nullopt;
}

std::string DiskModel::history_of(std::uint64_t sector) const {
  std::string text;
  std::size_t count = 0;
  for (auto logged = history_.rbegin(); logged != history_.rend() && count < reported_changes;
       ++logged) {
    const Change& change = logged->change;
    if (touches(change, sector, sector + 1)) {
      text +=
          fmt::format("\n  change {}: {} of bytes {}..{}, {}", change.sequence,
                      kind_name(change.kind), change.offset_bytes, change.end_bytes() - 1,
                      logged->outcome == Outcome::unknown ? "in flight at a kill" : "acknowledged");
      ++count;
    }
  }
  return text.empty() ? std::string("\n  not changed lately") : text;
}

std::vector<std::uint64_t> DiskModel::take_recent_chunks() {
  std::vector<std::uint64_t> chunks(recent_chunks_.begin(), recent_chunks_.end());
  recent_chunks_.clear();
  return chunks;
}

void DiskModel::save(const std::string& path) const {
  if (!in_flight_.empty()) {
    throw std::logic_error("a model with changes in flight cannot be saved");
  }
  File file = open_state(path, "wbe");
  StateHeader header;
  header.size_bytes = size_bytes_;
  header.seed = seed_;
  header.next_sequence = next_sequence_;
  header.path_length_bytes = initial_path_.size();
  bool written = std::fwrite(&header, sizeof header, 1, file.get()) == 1;
  written = written && std::fwrite(initial_path_.data(), 1, initial_path_.size(), file.get()) ==
                           initial_path_.size();
  live_.save(file.get());
  if (!written || std::fclose(file.release()) != 0) {
    throw std::runtime_error(fmt::format("{}: cannot write the state", path));
  }
}

DiskModel DiskModel::load(const std::string& path) {
  File file = open_state(path, "rbe");
  StateHeader header;
  constexpr std::uint64_t path_limit_bytes = 4096;
  if (std::fread(&header, sizeof header, 1, file.get()) != 1 || header.magic != state_magic ||
      header.path_length_bytes > path_limit_bytes) {
    throw std::runtime_error(fmt::format("{}: not a state file", path));
  }
  std::string initial_path(header.path_length_bytes, '\0');
  if (std::fread(initial_path.data(), 1, initial_path.size(), file.get()) != initial_path.size()) {
    throw std::runtime_error(fmt::format("{}: ends too early", path));
  }
  DiskModel model(header.size_bytes, header.seed, initial_path);
  model.next_sequence_ = header.next_sequence;
  model.live_.load(file.get());
  return model;
}

}  // namespace blocktest
