// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/inode.h"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace unionfs {

InodeRecord::InodeRecord(InodeNumber number, ConstByteSpan bytes, uint32_t block_size_bytes)
    : number_(number), block_size_bytes_(block_size_bytes), bytes_(bytes.begin(), bytes.end()) {
  assert(bytes.size() >= ext2::kGoodOldInodeSizeBytes);
}

bool InodeRecord::has_known_type() const {
  return file_type() != ext2::kFileTypeUnknown;
}

uint8_t file_type_of(uint16_t mode) {
  switch (mode & ext2::kModeTypeMask) {
    case ext2::kModeRegular:
      return ext2::kFileTypeRegular;
    case ext2::kModeDirectory:
      return ext2::kFileTypeDirectory;
    case ext2::kModeCharDevice:
      return ext2::kFileTypeCharDevice;
    case ext2::kModeBlockDevice:
      return ext2::kFileTypeBlockDevice;
    case ext2::kModeFifo:
      return ext2::kFileTypeFifo;
    case ext2::kModeSocket:
      return ext2::kFileTypeSocket;
    case ext2::kModeSymlink:
      return ext2::kFileTypeSymlink;
    default:
      return ext2::kFileTypeUnknown;
  }
}

uint64_t InodeRecord::size_bytes() const {
  const uint64_t high = is_regular() ? raw().i_size_high.value() : 0;
  return high << 32 | raw().i_size;
}

bool InodeRecord::is_fast_symlink() const {
  const uint32_t xattr_sectors =
      raw().i_file_acl != 0 ? block_size_bytes_ / ext2::kSectorSizeBytes : 0;
  return is_symlink() && raw().i_blocks == xattr_sectors;
}

bool InodeRecord::has_block_map() const {
  switch (type()) {
    case ext2::kModeRegular:
    case ext2::kModeDirectory:
      return true;
    case ext2::kModeSymlink:
      return !is_fast_symlink();
    case 0:  // mke2fs leaves the mode of the bad blocks inode 0
      return number_.value() == ext2::kBadBlocksInode || number_.value() == ext2::kResizeInode;
    default:
      return false;
  }
}

uint32_t InodeRecord::extra_size_bytes() const {
  if (bytes_.size() < sizeof(ext2::Inode) + sizeof(ext2::InodeExtra::i_extra_isize)) {
    return 0;
  }
  Le16 size_bytes;
  std::memcpy(&size_bytes, bytes_.data() + sizeof(ext2::Inode), sizeof(size_bytes));
  return size_bytes;
}

std::optional<ext2::InodeExtra> InodeRecord::extra() const {
  const uint32_t extra_size = extra_size_bytes();
  if (extra_size < sizeof(ext2::InodeExtra::i_extra_isize) || extra_size % 4 != 0 ||
      extra_size > bytes_.size() - sizeof(ext2::Inode)) {
    return std::nullopt;
  }
  ext2::InodeExtra extra = {};
  std::memcpy(&extra, bytes_.data() + sizeof(ext2::Inode),
              std::min<size_t>(extra_size, sizeof(extra)));
  return extra;
}

bool is_empty_slot(ConstByteSpan slot) {
  return all_zeros(slot);
}

void forget_access_time(ByteSpan slot) {
  const auto forget = [slot](size_t offset) {
    if (offset + sizeof(Le32) <= slot.size()) {
      std::fill_n(slot.begin() + static_cast<ptrdiff_t>(offset), sizeof(Le32), std::byte{0});
    }
  };
  forget(offsetof(ext2::Inode, i_atime));
  forget(ext2::kGoodOldInodeSizeBytes + offsetof(ext2::InodeExtra, i_atime_extra));
}

Result<InodeRecord> read_inode(const Volume& volume, InodeNumber number) {
  const Layout& layout = volume.layout();
  if (number.value() == 0 || number.value() > layout.inode_count()) {
    return corrupt("{}: inode {} is not from 1 to {}", volume.name(), number, layout.inode_count());
  }
  std::vector<std::byte> bytes(layout.inode_size_bytes);
  UNIONFS_TRY(volume.image().read(inode_offset(layout, volume.groups(), number), bytes));
  return InodeRecord(number, bytes, layout.block_size_bytes);
}

}  // namespace unionfs
