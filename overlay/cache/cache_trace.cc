// SPDX-License-Identifier: BSD-3-Clause
//
// The part of CacheFile that keeps which clusters are read first.
#include <algorithm>
#include <unordered_map>

#include "overlay/cache/cache_file.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

using cache_format::Trace;

struct Slot {
  Trace head = {};
  std::vector<uint32_t> clusters;
};

uint64_t checksum_of(const Slot& slot) {
  Hash hash;
  hash.add(bytes_of(slot.head).subspan(sizeof(slot.head.checksum)));
  hash.add(std::as_bytes(std::span(slot.clusters)));
  return hash.value();
}

// Without clusters, where nothing was kept, or not the whole of it.
Slot read_slot(const PosixFile& file, uint64_t offset, uint64_t cluster_count) {
  Slot slot;
  const Result<Trace> head = read_structure<Trace>(file, offset);
  if (!head || head->count > cache_format::kMaxTraced) {
    return {};
  }
  slot.head = *head;
  slot.clusters.resize(head->count);
  const auto bytes = std::as_writable_bytes(std::span(slot.clusters));
  const bool is_whole = file.read(offset + sizeof(Trace), bytes) &&
                        checksum_of(slot) == slot.head.checksum &&
                        std::all_of(slot.clusters.begin(), slot.clusters.end(),
                                    [&](uint32_t cluster) { return cluster < cluster_count; });
  return is_whole ? slot : Slot{};
}

std::vector<uint64_t> joined_traces(const PosixFile& file, uint64_t offset,
                                    uint64_t cluster_count) {
  std::unordered_map<uint64_t, size_t> first;  // of each cluster, its earliest place in a list
  for (uint64_t i = 0; i < cache_format::kTraceSlots; ++i) {
    const Slot slot = read_slot(file, offset + i * cache_format::kTraceSlotBytes, cluster_count);
    for (size_t place = 0; place < slot.clusters.size(); ++place) {
      const auto [known, is_new] = first.try_emplace(slot.clusters[place], place);
      known->second = std::min(known->second, place);
    }
  }
  std::vector<std::pair<size_t, uint64_t>> ordered;
  for (const auto& [cluster, place] : first) {
    ordered.emplace_back(place, cluster);
  }
  std::sort(ordered.begin(), ordered.end());
  std::vector<uint64_t> clusters;
  for (const auto& [place, cluster] : ordered) {
    clusters.push_back(cluster);
  }
  return clusters;
}

}  // namespace

Result<CacheTrace> read_trace_of(const std::string& path) {
  UNIONFS_ASSIGN(const auto file, PosixFile::open(path, FileLock::kNone));
  const Result<cache_format::Header> header =
      read_structure<cache_format::Header>(*file, cache_format::kHeaderOffset);
  if (!header || !cache_format::is_header(*header)) {
    return invalid("{}: is no cache", path);
  }
  const cache_format::Places places =
      cache_format::places_of(header->image_bytes, header->cluster_bytes);
  const uint64_t count = (header->image_bytes + header->cluster_bytes - 1) / header->cluster_bytes;
  return CacheTrace{joined_traces(*file, places.traces_offset, count), header->cluster_bytes,
                    header->image_bytes};
}

std::vector<uint64_t> CacheFile::read_trace() const {
  return joined_traces(*file_, places_.traces_offset, cluster_count());
}

void CacheFile::write_trace(const std::vector<uint64_t>& clusters) {
  Slot newest;
  uint64_t oldest_offset = places_.traces_offset;
  uint64_t oldest = UINT64_MAX;
  for (uint64_t i = 0; i < cache_format::kTraceSlots; ++i) {
    const uint64_t offset = places_.traces_offset + i * cache_format::kTraceSlotBytes;
    const uint64_t sequence = read_slot(*file_, offset, cluster_count()).head.sequence;
    newest.head.sequence = std::max(newest.head.sequence, sequence + 1);
    if (sequence < oldest) {
      oldest = sequence;
      oldest_offset = offset;
    }
  }
  newest.clusters.assign(clusters.begin(),
                         clusters.begin() + static_cast<ptrdiff_t>(std::min<size_t>(
                                                clusters.size(), cache_format::kMaxTraced)));
  newest.head.count = newest.clusters.size();
  newest.head.checksum = checksum_of(newest);
  // Half of one is none: its checksum says so.
  std::vector<std::byte> bytes(sizeof(Trace) + newest.clusters.size() * sizeof(uint32_t));
  const ConstByteSpan head = bytes_of(newest.head);
  const auto numbers = std::as_bytes(std::span(newest.clusters));
  std::copy(head.begin(), head.end(), bytes.begin());
  std::copy(numbers.begin(), numbers.end(), bytes.begin() + sizeof(Trace));
  if (const Result<void> written = file_->write(oldest_offset, bytes); !written && options_.log) {
    options_.log(written.error().message);
  }
}

}  // namespace unionfs
