// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/base/file_blocks.h"

#include <algorithm>

#include "fsparse/ext2_format.h"

namespace unionfs {
namespace {

constexpr uint64_t kReadBytes = 1024 * 1024;  // a multiple of every block size
// What a digest looks for zeros in: the smallest block, so that it does not depend on the block
// size.
constexpr uint64_t kDigestPartBytes = ext2::kMinBlockSizeBytes;

Result<void> visit_runs(FileBlock first, ConstByteSpan bytes, uint32_t block_size_bytes,
                        const BlockRunVisitor& visit) {
  const size_t count = bytes.size() / block_size_bytes;
  const auto is_hole = [&](size_t index) {
    return all_zeros(bytes.subspan(index * block_size_bytes, block_size_bytes));
  };
  size_t index = 0;
  while (index < count) {
    if (is_hole(index)) {
      ++index;
      continue;
    }
    const size_t begin = index;
    do {
      ++index;
    } while (index < count && !is_hole(index));
    UNIONFS_TRY(visit(first + begin,
                      bytes.subspan(begin * block_size_bytes, (index - begin) * block_size_bytes)));
  }
  return {};
}

}  // namespace

Result<void> for_each_block_run(FileBytes& content, uint32_t block_size_bytes,
                                std::vector<std::byte>& buffer, const BlockRunVisitor& visit) {
  buffer.resize(kReadBytes);
  uint64_t offset = 0;  // of the next block
  while (offset < content.size_bytes()) {
    UNIONFS_ASSIGN(const std::optional<ByteRange> data, content.next_data(offset));
    if (!data) {
      break;
    }
    offset = std::max(offset, data->begin / block_size_bytes * block_size_bytes);
    const uint64_t end = round_up(data->end, block_size_bytes);
    while (offset < end) {
      const ByteSpan piece = ByteSpan(buffer).first(std::min(end - offset, kReadBytes));
      UNIONFS_TRY(content.read(offset, piece));
      UNIONFS_TRY(visit_runs(FileBlock(offset / block_size_bytes), piece, block_size_bytes, visit));
      offset += piece.size();
    }
  }
  return {};
}

void ContentDigest::add(uint64_t offset, ConstByteSpan blocks) {
  for (size_t begin = 0; begin < blocks.size(); begin += kDigestPartBytes) {
    const ConstByteSpan part = blocks.subspan(begin, kDigestPartBytes);
    if (all_zeros(part)) {
      continue;
    }
    const uint64_t place = offset + begin;
    if (place != next_) {
      places_.add(bytes_of(Le64(place)));
    }
    bytes_.add(part);
    next_ = place + kDigestPartBytes;
  }
}

std::array<uint8_t, 16> ContentDigest::value(uint64_t size_bytes) const {
  LongHash all;
  all.add(bytes_of(Le64(size_bytes)));
  all.add(bytes_of(Le64(next_)));
  all.add(bytes_of(places_.value()));
  all.add(bytes_of(bytes_.value()));
  return all.value();
}

}  // namespace unionfs
