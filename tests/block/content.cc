// SPDX-License-Identifier: BSD-3-Clause

#include "content.h"

#include <algorithm>
#include <cstring>

namespace blocktest {

namespace {

constexpr std::size_t words_per_sector = sector_size_bytes / sizeof(std::uint64_t);
constexpr std::size_t sector_word = 62;    // sector number, hidden under a mix of word 0
constexpr std::size_t sequence_word = 63;  // sequence number, hidden under a mix of word 1

}  // namespace

std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31);
}

// Every byte looks random, also those that hold the numbers: a write of a few bytes must differ
// from the one before it wherever it lies.
SectorBytes stamped_sector(std::uint64_t sector, std::uint64_t sequence, std::uint64_t seed) {
  std::array<std::uint64_t, words_per_sector> words;
  const std::uint64_t key = mix(seed ^ mix(sector ^ mix(sequence)));
  for (std::size_t index = 0; index < words_per_sector; ++index) {
    words[index] = mix(key + index);
  }
  words[sector_word] = sector ^ mix(words[0]);
  words[sequence_word] = sequence ^ mix(words[1]);

  SectorBytes bytes;
  std::memcpy(bytes.data(), words.data(), bytes.size());
  if (sector == superblock_state_offset_bytes / sector_size_bytes) {
    std::memset(bytes.data() + superblock_state_offset_bytes % sector_size_bytes, 0,
                superblock_state_size_bytes);
  }
  return bytes;
}

void fill_stamped(std::uint64_t offset_bytes, std::uint64_t sequence, std::uint64_t seed,
                  std::span<std::uint8_t> out) {
  std::size_t done_bytes = 0;
  while (done_bytes < out.size()) {
    const std::uint64_t position_bytes = offset_bytes + done_bytes;
    const std::size_t begin = position_bytes % sector_size_bytes;
    const std::size_t count =
        std::min<std::size_t>(sector_size_bytes - begin, out.size() - done_bytes);
    const SectorBytes bytes = stamped_sector(position_bytes / sector_size_bytes, sequence, seed);
    std::memcpy(out.data() + done_bytes, bytes.data() + begin, count);
    done_bytes += count;
  }
}

std::optional<Stamp> read_stamp(std::span<const std::uint8_t> sector_bytes, std::uint64_t seed) {
  if (sector_bytes.size() != sector_size_bytes) {
    return std::nullopt;
  }
  std::array<std::uint64_t, words_per_sector> words;
  std::memcpy(words.data(), sector_bytes.data(), sector_bytes.size());
  const Stamp stamp = {words[sector_word] ^ mix(words[0]), words[sequence_word] ^ mix(words[1])};
  const SectorBytes expected = stamped_sector(stamp.sector, stamp.sequence, seed);
  if (std::memcmp(expected.data(), sector_bytes.data(), expected.size()) != 0) {
    return std::nullopt;
  }
  return stamp;
}

}  // namespace blocktest
