// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/file_reader.h"

#include <algorithm>
#include <cstring>

namespace unionfs {

Result<std::optional<BlockNumber>> FileReader::block_at(FileBlock block) {
  const uint32_t per_block = volume_.layout().pointers_per_block();
  if (block.value() < ext2::kDirectBlocks) {
    return map_block(volume_, record_, block);
  }
  const uint64_t index = (block.value() - ext2::kDirectBlocks) % per_block;
  const BlockRole role{1, FileBlock(block.value() - index)};
  if (!known_ || *known_ != role) {
    known_.reset();
    known_pointers_.clear();
    UNIONFS_ASSIGN(const std::optional<BlockNumber> pointers, map_block(volume_, record_, role));
    if (pointers) {
      UNIONFS_ASSIGN(known_pointers_, read_pointers(volume_, *pointers));
    }
    known_ = role;
  }
  if (known_pointers_.empty() || known_pointers_[index].is_none()) {
    return std::optional<BlockNumber>();
  }
  UNIONFS_ASSIGN(const BlockNumber number,
                 check_pointer(volume_, record_.number(), 0, known_pointers_[index]));
  return std::optional<BlockNumber>(number);
}

Result<bool> FileReader::read(uint64_t offset, ByteSpan buffer) {
  const uint32_t block_size = volume_.layout().block_size_bytes;
  bool has_data = false;
  const uint64_t in_file = offset < size_bytes() ? size_bytes() - offset : 0;
  const size_t wanted = std::min<uint64_t>(buffer.size(), in_file);
  std::memset(buffer.data() + wanted, 0, buffer.size() - wanted);
  // Blocks that follow one another are read in one go.
  size_t done = 0;
  while (done < wanted) {
    const uint64_t at = offset + done;
    const uint32_t inside = static_cast<uint32_t>(at % block_size);
    size_t length = std::min<size_t>(block_size - inside, wanted - done);
    UNIONFS_ASSIGN(const std::optional<BlockNumber> block, block_at(FileBlock(at / block_size)));
    if (!block) {
      std::memset(buffer.data() + done, 0, length);
      done += length;
      continue;
    }
    for (uint64_t run = 1; done + length < wanted; ++run) {
      UNIONFS_ASSIGN(const std::optional<BlockNumber> next,
                     block_at(FileBlock(at / block_size + run)));
      if (!next || *next != *block + run) {
        break;
      }
      length += std::min<size_t>(block_size, wanted - done - length);
    }
    UNIONFS_TRY(volume_.image().read(volume_.layout().offset_of(*block) + inside,
                                     buffer.subspan(done, length)));
    has_data = true;
    done += length;
  }
  return has_data;
}

Result<bool> have_same_bytes(FileReader& one, FileReader& other, uint64_t& bytes_compared) {
  if (one.size_bytes() != other.size_bytes()) {
    return false;
  }
  constexpr uint64_t kStepBytes = uint64_t{256} << 10;
  std::vector<std::byte> first(std::min(kStepBytes, one.size_bytes()));
  std::vector<std::byte> second(first.size());
  for (uint64_t offset = 0; offset < one.size_bytes(); offset += first.size()) {
    UNIONFS_ASSIGN(const bool has_first, one.read(offset, first));
    UNIONFS_ASSIGN(const bool has_second, other.read(offset, second));
    bytes_compared += (has_first ? first.size() : 0) + (has_second ? second.size() : 0);
    if ((has_first || has_second) && first != second) {
      return false;
    }
  }
  return true;
}

}  // namespace unionfs
