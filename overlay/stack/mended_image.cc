// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/mended_image.h"

#include <array>
#include <cstddef>

#include "fsparse/block_map.h"
#include "fsparse/xattr.h"
#include "overlay/stack/structure_check.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

constexpr uint64_t kXattrCountOffset = offsetof(ext2::XattrHeader, h_refcount);

Result<ext2::Superblock> read_superblock(const ReadableFile& file) {
  ext2::Superblock superblock;
  UNIONFS_TRY(
      file.read(ext2::kSuperblockOffsetBytes, std::as_writable_bytes(std::span(&superblock, 1))));
  return superblock;
}

// Makes changes to blocks of an image that is staged, and remembers which.
class Mender {
 public:
  Mender(const Volume& volume, StagedFile& stage, BlockSet& changed)
      : volume_(volume), layout_(volume.layout()), stage_(stage), changed_(changed) {}

  Result<void> drop(const Structure& structure) {
    for (const InodeNumber inode : structure.orphans) {
      UNIONFS_TRY(drop_inode(inode));
    }
    for (const auto& [block, users] : structure.orphan_xattrs) {
      UNIONFS_TRY(drop_users(block, users));
    }
    return write_counters();
  }

  uint32_t freed_blocks() const { return freed_blocks_; }
  uint32_t dropped_inodes() const { return dropped_inodes_; }

 private:
  struct Freed {
    uint32_t blocks = 0;
    uint32_t inodes = 0;
    uint32_t directories = 0;
  };

  Result<void> write(uint64_t offset, ConstByteSpan bytes) {
    const BlockNumber block(offset / layout_.block_size_bytes);
    if (block.value() >= layout_.first_data_block) {
      changed_.set(block);
    }
    return stage_.write(offset, bytes);
  }

  Result<void> clear_in(BlockNumber bitmap, uint64_t bit) {
    const uint64_t offset = layout_.offset_of(bitmap) + bit / 8;
    std::array<std::byte, 1> byte;
    UNIONFS_TRY(stage_.read(offset, byte));
    byte[0] &= ~(std::byte{1} << (bit % 8));
    return write(offset, byte);
  }

  Result<void> free_block(BlockNumber block) {
    const GroupNumber group = layout_.group_of(block);
    UNIONFS_TRY(
        clear_in(volume_.group(group).block_bitmap, block - layout_.blocks_of(group).begin));
    ++freed_[group.value()].blocks;
    ++freed_blocks_;
    return {};
  }

  Result<void> drop_inode(InodeNumber inode) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume_, inode));
    UNIONFS_TRY(
        walk_block_map(volume_, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
          UNIONFS_TRY(free_block(block));
          return WalkStep::kContinue;
        }));
    const GroupNumber group = layout_.group_of(inode);
    UNIONFS_TRY(clear_in(volume_.group(group).inode_bitmap,
                         (inode.value() - 1) % layout_.inodes_per_group));
    ++freed_[group.value()].inodes;
    freed_[group.value()].directories += record.is_directory() ? 1 : 0;
    ++dropped_inodes_;
    const std::vector<std::byte> none(layout_.inode_size_bytes);
    return write(inode_offset(layout_, volume_.groups(), inode), none);
  }

  Result<void> drop_users(BlockNumber block, uint32_t users) {
    Le32 count;
    const uint64_t offset = layout_.offset_of(block) + kXattrCountOffset;
    UNIONFS_TRY(stage_.read(offset, std::as_writable_bytes(std::span(&count, 1))));
    if (count == users) {
      return free_block(block);
    }
    count = count - users;
    return write(offset, bytes_of(count));
  }

  Result<void> write_counters() {
    for (const auto& [number, freed] : freed_) {
      UNIONFS_TRY(write_descriptor(number, freed));
    }
    UNIONFS_ASSIGN(ext2::Superblock superblock, read_superblock(stage_));
    superblock.s_free_blocks_count = superblock.s_free_blocks_count + freed_blocks_;
    superblock.s_free_inodes_count = superblock.s_free_inodes_count + dropped_inodes_;
    superblock.s_last_orphan = 0U;
    return write(ext2::kSuperblockOffsetBytes, bytes_of(superblock));
  }

  Result<void> write_descriptor(uint32_t group, const Freed& freed) {
    const uint32_t per_block = layout_.descriptors_per_block();
    const uint64_t offset = layout_.offset_of(layout_.primary_descriptor_block(group / per_block)) +
                            uint64_t{group % per_block} * sizeof(ext2::GroupDescriptor);
    ext2::GroupDescriptor descriptor;
    UNIONFS_TRY(stage_.read(offset, std::as_writable_bytes(std::span(&descriptor, 1))));
    descriptor.bg_free_blocks_count =
        static_cast<uint16_t>(descriptor.bg_free_blocks_count + freed.blocks);
    descriptor.bg_free_inodes_count =
        static_cast<uint16_t>(descriptor.bg_free_inodes_count + freed.inodes);
    descriptor.bg_used_dirs_count =
        static_cast<uint16_t>(descriptor.bg_used_dirs_count - freed.directories);
    return write(offset, bytes_of(descriptor));
  }

  const Volume& volume_;
  const Layout& layout_;
  StagedFile& stage_;
  BlockSet& changed_;
  std::map<uint32_t, Freed> freed_;  // by group
  uint32_t freed_blocks_ = 0;
  uint32_t dropped_inodes_ = 0;
};

}  // namespace

Result<std::unique_ptr<MendedImage>> MendedImage::make(const std::string& name,
                                                       const MergedView& view,
                                                       const std::atomic<bool>& is_cancelled) {
  std::unique_ptr<MendedImage> mended(new MendedImage(name, view));
  mended->stage_ = std::make_unique<StagedFile>(mended->shown_);
  UNIONFS_ASSIGN(ext2::Superblock superblock, read_superblock(mended->shown_));
  superblock.s_state = static_cast<uint16_t>(superblock.s_state | ext2::kStateValid);
  UNIONFS_TRY(mended->stage_->write(ext2::kSuperblockOffsetBytes, bytes_of(superblock)));

  UNIONFS_ASSIGN(const Volume volume, Volume::open(*mended->stage_, SuperblockUse::kMerged));
  mended->layout_ = volume.layout();
  UNIONFS_ASSIGN(const Structure structure, check_structure(volume, is_cancelled));
  mended->changed_ = std::make_unique<BlockSet>(mended->layout_);
  mended->metadata_ = std::make_unique<BlockSet>(mended->layout_, structure.metadata.bits());
  if (!structure.orphans.empty()) {
    Mender mender(volume, *mended->stage_, *mended->changed_);
    UNIONFS_TRY(mender.drop(structure));
    mended->dropped_inodes_ = mender.dropped_inodes();
    mended->freed_blocks_ = mender.freed_blocks();
  }
  return mended;
}

}  // namespace unionfs
