// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/staged_file.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace unionfs {

// Past the base's end a stage that was made longer reads as zeros.
Result<void> StagedFile::read_base(uint64_t offset, ByteSpan buffer) const {
  const uint64_t base_end = base_.size_bytes();
  const auto inside = static_cast<size_t>(
      offset < base_end ? std::min<uint64_t>(base_end - offset, buffer.size()) : 0);
  std::fill(buffer.begin() + static_cast<ptrdiff_t>(inside), buffer.end(), std::byte{0});
  if (inside > 0) {
    UNIONFS_TRY(base_.read(offset, buffer.first(inside)));
  }
  return read_elsewhere(offset, buffer);
}

// Over what the base has in that place.
Result<void> StagedFile::read_elsewhere(uint64_t offset, ByteSpan buffer) const {
  const uint64_t end = offset + buffer.size();
  auto range = std::upper_bound(
      elsewhere_.begin(), elsewhere_.end(), offset,
      [](uint64_t wanted, const Elsewhere& e) { return wanted < e.offset + e.length; });
  for (; range != elsewhere_.end() && range->offset < end; ++range) {
    const uint64_t from = std::max(range->offset, offset);
    const uint64_t to = std::min(range->offset + range->length, end);
    const ByteSpan part = buffer.subspan(from - offset, to - from);
    if (range->source) {
      UNIONFS_TRY(base_.read(*range->source + (from - range->offset), part));
    } else {
      std::fill(part.begin(), part.end(), std::byte{0});
    }
  }
  return {};
}

void StagedFile::add_elsewhere(const Elsewhere& range) {
  assert(pages_.empty());
  assert(elsewhere_.empty() || elsewhere_.back().offset + elsewhere_.back().length <= range.offset);
  elsewhere_.push_back(range);
}

void StagedFile::show(uint64_t offset, uint64_t length, uint64_t source) {
  add_elsewhere({offset, length, source});
}

void StagedFile::show_zeros(uint64_t offset, uint64_t length) {
  add_elsewhere({offset, length, std::nullopt});
}

Result<void> StagedFile::read(uint64_t offset, ByteSpan buffer) const {
  if (offset > size_bytes_ || buffer.size() > size_bytes_ - offset) {
    return corrupt("{}: {} bytes at offset {} are past its end", name(), buffer.size(), offset);
  }
  UNIONFS_TRY(read_base(offset, buffer));
  const uint64_t end = offset + buffer.size();
  for (auto page = pages_.lower_bound(offset / kPageBytes * kPageBytes);
       page != pages_.end() && page->first < end; ++page) {
    const uint64_t from = std::max(page->first, offset);
    const uint64_t to = std::min(page->first + kPageBytes, end);
    std::memcpy(buffer.data() + (from - offset), page->second.data() + (from - page->first),
                to - from);
  }
  return {};
}

Result<void> StagedFile::write(uint64_t offset, ConstByteSpan bytes) {
  while (!bytes.empty()) {
    const uint64_t page_offset = offset / kPageBytes * kPageBytes;
    const auto skip = static_cast<size_t>(offset - page_offset);
    const size_t length = std::min<size_t>(kPageBytes - skip, bytes.size());
    const auto [page, is_new] = pages_.try_emplace(page_offset);
    if (is_new) {
      page->second.resize(kPageBytes);
      if (length < kPageBytes) {
        UNIONFS_TRY(read_base(page_offset, page->second));
      }
    }
    std::memcpy(page->second.data() + skip, bytes.data(), length);
    offset += length;
    bytes = bytes.subspan(length);
  }
  return {};
}

}  // namespace unionfs
