// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/lower_image.h"

#include "overlay/merged/directory_names.h"

namespace unionfs {
namespace {

// A name of the lower is what its entry says.
class NamesOfImage final : public NamesBelow {
 public:
  explicit NamesOfImage(DirectoryNames names) : names_(std::move(names)) {}

  Result<std::optional<NameBelow>> find(const EntryView& wanted) override {
    UNIONFS_ASSIGN(const auto found, names_.find(wanted));
    if (!found || found->kind != EntryKind::kReal) {
      return std::optional<NameBelow>();
    }
    return std::optional<NameBelow>(NameBelow{found->inode, found->file_type});
  }

 private:
  DirectoryNames names_;
};

}  // namespace

Result<std::unique_ptr<LowerImage>> LowerImage::open(const ReadableFile& file) {
  UNIONFS_ASSIGN(Volume volume, Volume::open(file, SuperblockUse::kLower));
  return std::unique_ptr<LowerImage>(new LowerImage(file, std::move(volume)));
}

Result<void> LowerImage::used_blocks(GroupNumber group, ByteSpan out) const {
  return volume_.read_block(volume_.group(group).block_bitmap, out);
}

Result<void> LowerImage::used_inodes(GroupNumber group, ByteSpan out) const {
  return volume_.read_block(volume_.group(group).inode_bitmap, out);
}

Result<InodeRecord> LowerImage::inode_at(InodeNumber inode) const {
  return read_inode(volume_, inode);
}

Result<std::optional<PointerBlock>> LowerImage::pointers_at(InodeNumber inode,
                                                            BlockRole role) const {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume_, inode));
  if (!record.is_regular()) {
    return std::optional<PointerBlock>();
  }
  UNIONFS_ASSIGN(const auto block, map_block(volume_, record, role));
  if (!block) {
    return std::optional<PointerBlock>();
  }
  UNIONFS_ASSIGN(std::vector<ClaimedBlock> pointers, read_pointers(volume_, *block));
  return std::optional<PointerBlock>(PointerBlock{*block, std::move(pointers)});
}

Result<std::unique_ptr<NamesBelow>> LowerImage::names_of(InodeNumber directory, BlockNumber block,
                                                         FileBlock file_block) const {
  UNIONFS_ASSIGN(DirectoryNames names, DirectoryNames::open(names_, directory, block, file_block));
  return std::unique_ptr<NamesBelow>(std::make_unique<NamesOfImage>(std::move(names)));
}

}  // namespace unionfs
