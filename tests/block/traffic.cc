// SPDX-License-Identifier: BSD-3-Clause

#include "traffic.h"

#include <algorithm>
#include <utility>

namespace blocktest {

namespace {

constexpr std::uint64_t hot_range_bytes = 64U << 10;
constexpr std::uint64_t edge_range_bytes = 64U << 10;
constexpr std::size_t random_hot_offset_count = 16;
constexpr std::uint64_t largest_block_bytes = 4096;

}  // namespace

Traffic::Traffic(std::uint64_t seed, const Abilities& abilities, unsigned connection_count,
                 const TrafficWeights& weights, const std::vector<std::uint64_t>& hot_offsets_bytes)
    : random_(seed),
      abilities_(abilities),
      connection_count_(connection_count),
      weights_(weights),
      hot_offsets_bytes_(hot_offsets_bytes) {
  // Half of the places are where block groups begin with 1, 2 or 4 KiB blocks: 8 bits per byte of
  // one bitmap block.
  for (std::size_t index = 0; index < random_hot_offset_count; ++index) {
    const std::uint64_t block_bytes = std::uint64_t{1024} << random_.below(3);
    const std::uint64_t group_bytes = block_bytes * block_bytes * 8;
    const std::uint64_t group = random_.below(abilities_.size_bytes / group_bytes + 1);
    hot_offsets_bytes_.push_back(index % 2 == 0 ? group * group_bytes
                                                : random_.below(abilities_.size_bytes));
  }
}

RequestKind Traffic::pick_kind() {
  const std::pair<RequestKind, unsigned> choices[] = {
      {RequestKind::read, weights_.read},
      {RequestKind::write, weights_.write},
      {RequestKind::write_of_zeros, weights_.write_of_zeros},
      {RequestKind::zero, abilities_.zero ? weights_.zero : 0},
      {RequestKind::trim, abilities_.trim ? weights_.trim : 0},
      {RequestKind::flush, abilities_.flush ? weights_.flush : 0},
      {RequestKind::cache, abilities_.cache ? weights_.cache : 0},
      {RequestKind::block_status, abilities_.block_status ? weights_.block_status : 0},
  };
  unsigned total = 0;
  for (const auto& [kind, weight] : choices) {
    total += weight;
  }
  std::uint64_t left = random_.below(total);
  for (const auto& [kind, weight] : choices) {
    if (left < weight) {
      return kind;
    }
    left -= weight;
  }
  return RequestKind::read;
}

// Mostly small. A third is whole sectors or blocks, as file systems write.
std::uint32_t Traffic::pick_length() {
  const std::uint64_t dice = random_.below(100);
  std::uint64_t limit_bytes = longest_request_bytes;
  if (dice < 35) {
    limit_bytes = 1024;
  } else if (dice < 75) {
    limit_bytes = 16U << 10;
  } else if (dice < 93) {
    limit_bytes = 128U << 10;
  } else if (dice < 99) {
    limit_bytes = 1U << 20;
  }
  std::uint64_t length_bytes = random_.between(1, limit_bytes);
  if (random_.chance(33)) {
    const std::uint64_t unit_bytes = std::uint64_t{512} << random_.below(4);
    length_bytes = std::max(unit_bytes, length_bytes / unit_bytes * unit_bytes);
  }
  return static_cast<std::uint32_t>(std::min(length_bytes, abilities_.size_bytes));
}

std::uint64_t Traffic::pick_offset(std::uint32_t length_bytes) {
  const std::uint64_t last_bytes = abilities_.size_bytes - length_bytes;
  const std::uint64_t dice = random_.below(100);
  std::uint64_t offset_bytes = 0;
  if (dice < 12) {
    offset_bytes = random_.below(edge_range_bytes);
  } else if (dice < 24) {
    const std::uint64_t back_bytes = random_.below(edge_range_bytes);
    offset_bytes = last_bytes - std::min(last_bytes, random_.chance(30) ? 0 : back_bytes);
  } else if (dice < 70) {
    const std::uint64_t center_bytes = hot_offsets_bytes_[random_.below(hot_offsets_bytes_.size())];
    const std::uint64_t moved_bytes = center_bytes + random_.below(2 * hot_range_bytes);
    offset_bytes = moved_bytes - std::min(moved_bytes, hot_range_bytes);
  } else {
    offset_bytes = random_.below(abilities_.size_bytes);
  }
  if (random_.chance(40)) {
    const std::uint64_t unit_bytes = std::uint64_t{512} << random_.below(4);
    offset_bytes = offset_bytes / unit_bytes * unit_bytes;
  } else if (random_.chance(50)) {
    // One byte before, at or behind a border, with the beginning or with the end.
    const std::uint64_t edge_bytes = random_.chance(50) ? 0 : length_bytes;
    const std::uint64_t unit_bytes = std::uint64_t{512} << random_.below(4);
    const std::uint64_t border_bytes =
        (offset_bytes + edge_bytes) / unit_bytes * unit_bytes + random_.below(3);
    offset_bytes = border_bytes - std::min(border_bytes, edge_bytes + 1);
  }
  return std::min(offset_bytes, last_bytes);
}

Request Traffic::dress(RequestKind kind, std::uint64_t offset_bytes, std::uint32_t length_bytes) {
  Request request;
  request.kind = kind;
  request.connection = static_cast<unsigned>(random_.below(connection_count_));
  request.offset_bytes = kind == RequestKind::flush ? 0 : offset_bytes;
  request.length_bytes = kind == RequestKind::flush ? 0 : length_bytes;
  const bool durable = random_.chance(5);
  const bool changes = kind == RequestKind::write || kind == RequestKind::write_of_zeros ||
                       kind == RequestKind::zero || kind == RequestKind::trim;
  request.force_unit_access = durable && changes && abilities_.force_unit_access;
  request.no_hole = random_.chance(50) && kind == RequestKind::zero;
  request.fast_zero = random_.chance(30) && kind == RequestKind::zero && abilities_.fast_zero;
  request.one_extent = random_.chance(20) && kind == RequestKind::block_status;
  return request;
}

// Several requests at once for different sectors of the same few blocks, most often blocks nobody
// touched before: what is lost when two threads read, modify and write one block side by side shows
// here.
void Traffic::plan_burst() {
  const std::uint64_t sectors_per_block = largest_block_bytes / sector_size_bytes;
  const std::uint64_t block_count = random_.between(1, 3);
  const std::uint64_t size_in_blocks = abilities_.size_bytes / largest_block_bytes;
  if (size_in_blocks < block_count) {
    return;
  }
  std::uint64_t first_block = random_.below(size_in_blocks - block_count + 1);
  if (random_.chance(30)) {
    first_block = std::min(pick_offset(1) / largest_block_bytes, size_in_blocks - block_count);
  }
  const std::uint64_t end_sector = (first_block + block_count) * sectors_per_block;
  std::vector<Request> burst;
  for (std::uint64_t sector = first_block * sectors_per_block; sector < end_sector;) {
    const std::uint64_t sector_count =
        std::min(random_.chance(75) ? 1 : random_.between(2, 5), end_sector - sector);
    const std::uint64_t size_bytes = sector_count * sector_size_bytes;
    std::uint64_t begin_bytes = 0;
    std::uint64_t end_bytes = size_bytes;
    if (random_.chance(60)) {
      begin_bytes = random_.below(sector_size_bytes);
      end_bytes = random_.between(std::max(begin_bytes + 1, size_bytes - sector_size_bytes + 1),
                                  size_bytes);
    }
    RequestKind kind = pick_kind();
    // Mostly writes, where writing is allowed.
    const bool dull = kind == RequestKind::cache || kind == RequestKind::block_status ||
                      (kind == RequestKind::read && random_.chance(60));
    if (dull && weights_.write > 0) {
      kind = RequestKind::write;
    }
    burst.push_back(dress(kind, sector * sector_size_bytes + begin_bytes,
                          static_cast<std::uint32_t>(end_bytes - begin_bytes)));
    sector += sector_count;
  }
  for (std::size_t index = burst.size(); index > 1; --index) {
    std::swap(burst[index - 1], burst[random_.below(index)]);
  }
  planned_.insert(planned_.end(), burst.begin(), burst.end());
}

Request Traffic::next() {
  if (planned_.empty() && random_.chance(12)) {
    plan_burst();
  }
  if (!planned_.empty()) {
    const Request request = planned_.front();
    planned_.pop_front();
    return request;
  }
  const RequestKind kind = pick_kind();
  std::uint32_t length_bytes = pick_length();
  if (kind == RequestKind::block_status && random_.chance(30)) {
    length_bytes = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(random_.between(1, 64U << 20), abilities_.size_bytes));
  }
  const std::uint64_t offset_bytes = pick_offset(length_bytes);
  return dress(kind, offset_bytes, length_bytes);
}

Request Traffic::big_write(unsigned connection, std::uint32_t length_bytes) {
  const auto count =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(length_bytes, abilities_.size_bytes));
  Request request;
  request.kind = RequestKind::write;
  request.connection = connection;
  request.length_bytes = count;
  request.offset_bytes = pick_offset(count);
  return request;
}

}  // namespace blocktest
