// SPDX-License-Identifier: BSD-3-Clause
//
// What the block tests write: sectors whose every byte follows from (sector number, write sequence
// number, seed), so that a model of a disk of many GiB need only remember sequence numbers, and a
// sector found in the wrong place tells where it came from.

#ifndef TESTS_BLOCK_CONTENT_H
#define TESTS_BLOCK_CONTENT_H

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace blocktest {

// The unit of atomicity the contract speaks of, and no block size of ext2: read-modify-write races
// show between sectors of one block.
constexpr std::uint32_t sector_size_bytes = 512;

using SectorBytes = std::array<std::uint8_t, sector_size_bytes>;

// Low sequence numbers are left to the model, which uses them for content that is no stamp.
constexpr std::uint64_t first_sequence = 16;

// The two bytes of s_state in the superblock. Every stamp has zeros there, so a test that first
// writes these two bytes keeps the image "not cleanly unmounted": a server that tidies up a valid
// image between sessions (and may then drop what free blocks hold) leaves the bytes alone, as it
// must while a client is at work.
constexpr std::uint64_t superblock_state_offset_bytes = 1024 + 58;
constexpr std::uint32_t superblock_state_size_bytes = 2;

struct Stamp {
  std::uint64_t sector = 0;
  std::uint64_t sequence = 0;
};

// A fast mixing function on 64 bits; also what the tests derive seeds with.
std::uint64_t mix(std::uint64_t value);

SectorBytes stamped_sector(std::uint64_t sector, std::uint64_t sequence, std::uint64_t seed);

// The bytes a write with this sequence number puts at offset_bytes. Any alignment: a part of a
// sector gets that part of its stamp.
void fill_stamped(std::uint64_t offset_bytes, std::uint64_t sequence, std::uint64_t seed,
                  std::span<std::uint8_t> out);

// The stamp a whole sector carries, whichever sector it was made for.
std::optional<Stamp> read_stamp(std::span<const std::uint8_t> sector_bytes, std::uint64_t seed);

}  // namespace blocktest

#endif
