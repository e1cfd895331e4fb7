// SPDX-License-Identifier: BSD-3-Clause
#include "tools/make/image_copy.h"

#include <algorithm>
#include <cstring>

#include "fsparse/volume.h"
#include "tools/command_line/spool.h"

namespace unionfs::img {
namespace {

constexpr uint64_t kCopiedPieceBytes = uint64_t{1} << 20;  // whole blocks of every size

// Ranges of whole blocks of one image in a file that has nothing but zeros yet.
class TemporaryCopier {
 public:
  TemporaryCopier(const ReadableFile& from, PosixFile& to, const Layout& layout)
      : from_(from), to_(to), layout_(layout), bytes_(kCopiedPieceBytes) {}

  Result<void> copy(uint64_t begin, uint64_t end) {
    while (begin < end) {
      const ByteSpan piece = ByteSpan(bytes_).first(std::min(kCopiedPieceBytes, end - begin));
      UNIONFS_TRY(from_.read(begin, piece));
      UNIONFS_TRY(write(begin, piece));
      begin += piece.size();
    }
    return {};
  }
  Result<void> copy(BlockRange blocks) {
    return copy(layout_.offset_of(blocks.begin), layout_.offset_of(blocks.end));
  }

 private:
  Result<void> write(uint64_t offset, ConstByteSpan piece) {
    const uint32_t block_size = layout_.block_size_bytes;
    for (size_t at = 0; at < piece.size();) {
      size_t end = at;
      while (end < piece.size() && !all_zeros(piece.subspan(end, block_size))) {
        end += block_size;
      }
      if (end > at) {
        UNIONFS_TRY(to_.write(offset + at, piece.subspan(at, end - at)));
      }
      at = end + block_size;
    }
    return {};
  }

  const ReadableFile& from_;
  PosixFile& to_;
  const Layout& layout_;
  std::vector<std::byte> bytes_;
};

Result<std::unique_ptr<PosixFile>> empty_image(const Layout& layout) {
  UNIONFS_ASSIGN(auto file, make_temporary_file());
  UNIONFS_TRY(file->make_writable());
  UNIONFS_TRY(file->resize(layout.size_bytes()));
  return file;
}

}  // namespace

Result<std::unique_ptr<PosixFile>> copy_image(const ReadableFile& image, const Layout& layout) {
  UNIONFS_ASSIGN(auto file, empty_image(layout));
  TemporaryCopier copier(image, *file, layout);
  for (uint64_t at = 0; at < layout.size_bytes();) {
    const FileExtent extent = image.extent_at(at);
    const uint64_t end =
        std::min(round_up(extent.end, layout.block_size_bytes), layout.size_bytes());
    if (!extent.is_hole) {
      UNIONFS_TRY(copier.copy(at - at % layout.block_size_bytes, end));
    }
    at = end;
  }
  return file;
}

Result<std::unique_ptr<PosixFile>> copy_metadata(const MendedImage& image) {
  const Layout& layout = image.layout();
  UNIONFS_ASSIGN(const Volume volume, Volume::open(image.file(), SuperblockUse::kMerged));
  UNIONFS_ASSIGN(auto file, empty_image(layout));
  TemporaryCopier copier(image.file(), *file, layout);
  UNIONFS_TRY(copier.copy({BlockNumber(0), BlockNumber(layout.first_data_block)}));
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    const GroupNumber group(number);
    const Group& places = volume.group(group);
    const Layout::DescriptorCopy descriptors = layout.descriptor_copy(group);
    UNIONFS_TRY(
        copier.copy({layout.blocks_of(group).begin, descriptors.first_block + descriptors.count}));
    UNIONFS_TRY(copier.copy({places.block_bitmap, places.block_bitmap + 1}));
    UNIONFS_TRY(copier.copy({places.inode_bitmap, places.inode_bitmap + 1}));
    UNIONFS_TRY(
        copier.copy({places.inode_table, places.inode_table + layout.inode_table_block_count()}));
  }
  UNIONFS_TRY(image.metadata().for_each([&](BlockNumber block) {
    return copier.copy({block, block + 1});
  }));
  return file;
}

Result<void> find_differences(const ReadableFile& one, const ReadableFile& other,
                              const Layout& layout, BlockSet& blocks) {
  const uint32_t block_size = layout.block_size_bytes;
  std::vector<std::byte> left(kCopiedPieceBytes);
  std::vector<std::byte> right(kCopiedPieceBytes);
  for (uint64_t at = 0; at < layout.size_bytes();) {
    const FileExtent here = one.extent_at(at);
    const FileExtent there = other.extent_at(at);
    const uint64_t end =
        std::min({here.end, there.end, layout.size_bytes(), at + kCopiedPieceBytes});
    if (here.is_hole && there.is_hole) {
      at = std::min({here.end, there.end, layout.size_bytes()});
      continue;
    }
    UNIONFS_TRY(one.read(at, ByteSpan(left).first(end - at)));
    UNIONFS_TRY(other.read(at, ByteSpan(right).first(end - at)));
    for (uint64_t from = at; from < end;) {
      const uint64_t to = std::min(end, (from / block_size + 1) * block_size);
      const BlockNumber block(from / block_size);
      if (block.value() >= layout.first_data_block &&
          std::memcmp(left.data() + (from - at), right.data() + (from - at), to - from) != 0) {
        blocks.set(block);
      }
      from = to;
    }
    at = end;
  }
  return {};
}

}  // namespace unionfs::img
