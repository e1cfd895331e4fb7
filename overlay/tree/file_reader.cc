// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/file_reader.h"

#include <algorithm>
#include <cstring>

namespace unionfs {
namespace {

constexpr uint64_t kMostBlocksOfRange = 1024;  // that next_data() looks at in one call

}  // namespace

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

Result<void> FileReader::read(uint64_t offset, ByteSpan buffer) {
  const uint32_t block_size = volume_.layout().block_size_bytes;
  const uint64_t in_file = offset < size_bytes() ? size_bytes() - offset : 0;
  const size_t wanted = std::min<uint64_t>(buffer.size(), in_file);
  std::ranges::fill(buffer.subspan(wanted), std::byte(0));
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
    done += length;
  }
  return {};
}

Result<FileBlock> FileReader::behind_hole(FileBlock hole) const {
  const uint32_t per_block = volume_.layout().pointers_per_block();
  const std::optional<BlockPath> path = path_of(per_block, hole);
  if (!path || path->depth == 0) {
    return hole + 1;
  }
  const uint64_t base = role_of_slot(per_block, path->slot).first.value();
  for (Level level = level_of_slot(path->slot); level > 0; --level) {
    const uint64_t below = blocks_below(per_block, level);
    const FileBlock first(base + (hole.value() - base) / below * below);
    UNIONFS_ASSIGN(const std::optional<BlockNumber> pointers,
                   map_block(volume_, record_, BlockRole{level, first}));
    if (!pointers) {
      return first + below;
    }
  }
  return hole + 1;
}

Result<std::optional<ByteRange>> FileReader::next_data(uint64_t offset) {
  if (offset >= size_bytes()) {
    return std::optional<ByteRange>();
  }
  if (offset >= known_data_.begin && offset < known_data_.end) {
    return std::optional<ByteRange>({offset, known_data_.end});
  }
  const uint32_t block_size = volume_.layout().block_size_bytes;
  FileBlock begin(offset / block_size);
  const FileBlock end(divide_round_up(size_bytes(), block_size));
  while (begin < end) {
    UNIONFS_ASSIGN(const std::optional<BlockNumber> block, block_at(begin));
    if (block) {
      break;
    }
    if (known_pointers_.empty()) {
      UNIONFS_ASSIGN(begin, behind_hole(begin));
    } else {
      begin = begin + 1;
    }
  }
  if (begin >= end) {
    return std::optional<ByteRange>();
  }
  FileBlock behind = begin + 1;
  while (behind < end && behind - begin < kMostBlocksOfRange) {
    UNIONFS_ASSIGN(const std::optional<BlockNumber> block, block_at(behind));
    if (!block) {
      break;
    }
    behind = behind + 1;
  }
  known_data_ = {std::max(offset, begin.value() * block_size),
                 std::min(size_bytes(), behind.value() * block_size)};
  return std::optional<ByteRange>(known_data_);
}

std::unique_ptr<FileBytes> bytes_of_inode(const Volume& image, InodeRecord record) {
  return std::make_unique<FileReader>(image, std::move(record));
}

}  // namespace unionfs
