// SPDX-License-Identifier: BSD-3-Clause
//
// A cache file: which clusters of an image it has, and their bytes at their places.
//
//     page 0        header; who uses it; whether it is poisoned
//     regions       of each region its generation and a bit for each cluster that is there (live)
//     durable       the same bits, as they were when their bytes were durable
//     clocks        a byte for each region: whether it was read since the hand passed it
//     traces        three slots: which clusters were read first, in their order
//     data          from a multiple of the cluster size on: the image, with holes
//
// All numbers are little endian.  The sections begin at multiples of 4096.  All but data has its
// space from the beginning.  docs/cache.md has the protocol.
#ifndef UNIONFS_OVERLAY_CACHE_CACHE_FORMAT_H
#define UNIONFS_OVERLAY_CACHE_CACHE_FORMAT_H

#include <array>
#include <bit>
#include <cstdint>

#include "fsparse/numbers.h"

namespace unionfs::cache_format {

static_assert(std::endian::native == std::endian::little);

using Key = std::array<uint8_t, 16>;

constexpr std::array<char, 8> kMagic = {'u', 'n', 'f', 's', 'c', 'a', 'c', 'h'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kClustersPerRegion = 64;

struct Header {
  std::array<char, 8> magic;
  uint32_t version;
  uint32_t cluster_bytes;  // a power of two
  uint64_t image_bytes;
  Key key;            // of what the image is
  uint64_t checksum;  // XXH3 of all before it
};
static_assert(sizeof(Header) == 48);

// Whose live bits they are: of this boot, and of this file, not of a copy.
struct Use {
  std::array<char, 40> boot_id;
  uint64_t device;
  uint64_t inode;
  uint64_t birth_nanoseconds;
};
static_assert(sizeof(Use) == 64);

struct Region {
  uint64_t generation;  // changes before its bytes go
  uint64_t live;
};

// One slot; then come the numbers of clusters, 32 bits each.
struct Trace {
  uint64_t checksum;  // XXH3 of all behind it, up to the last number
  uint64_t sequence;  // the highest one is the newest
  uint64_t count;     // 0: none
};
static_assert(sizeof(Trace) == 24);

constexpr uint64_t kTraceSlots = 3;
constexpr uint64_t kMaxTraced = 4096;  // clusters
constexpr uint64_t kTraceSlotBytes = 5 * kPageBytes;
static_assert(sizeof(Trace) + kMaxTraced * sizeof(uint32_t) <= kTraceSlotBytes);

constexpr uint64_t kHeaderOffset = 0;
constexpr uint64_t kUseOffset = 1024;
constexpr uint64_t kPoisonOffset = 2048;  // a word; not 0: nobody believes the file any more
constexpr uint64_t kRegionsOffset = kPageBytes;

// Where things are, in bytes.
struct Places {
  uint64_t region_count;
  uint64_t durable_offset;
  uint64_t clocks_offset;
  uint64_t traces_offset;
  uint64_t data_offset;
  uint64_t file_bytes;
};

constexpr Places places_of(uint64_t image_bytes, uint64_t cluster_bytes) {
  Places places = {};
  places.region_count = round_up(image_bytes, cluster_bytes * kClustersPerRegion) /
                        (cluster_bytes * kClustersPerRegion);
  places.durable_offset =
      kRegionsOffset + round_up(places.region_count * sizeof(Region), kPageBytes);
  places.clocks_offset =
      places.durable_offset + round_up(places.region_count * sizeof(uint64_t), kPageBytes);
  places.traces_offset = places.clocks_offset + round_up(places.region_count, kPageBytes);
  places.data_offset =
      round_up(places.traces_offset + kTraceSlots * kTraceSlotBytes, cluster_bytes);
  places.file_bytes = places.data_offset + image_bytes;
  return places;
}

// Whether it is the header of a cache, of this version and not damaged.
bool is_header(const Header& header);
uint64_t checksum_of(const Header& header);

// Places of locks (fcntl, of the open file), which no byte of the file has: one for whoever copies
// the live bits or takes some away, and one for each region.
constexpr uint64_t kDurableLock = uint64_t{1} << 62;
constexpr uint64_t kFirstRegionLock = kDurableLock + 1;

}  // namespace unionfs::cache_format

#endif  // UNIONFS_OVERLAY_CACHE_CACHE_FORMAT_H
