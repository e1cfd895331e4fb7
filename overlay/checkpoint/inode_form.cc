// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/inode_form.h"

#include "overlay/checkpoint/directory_form.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

uint64_t slot_offset(const LayerSources& from, InodeNumber inode) {
  return inode_offset(from.layout(), from.upper.groups(), inode);
}

// The merged image's record as the layer has it.
Result<InodeRecord> form_record(const LayerSources& from, const Ownership& own,
                                const OwnInode& inode, const InodeRecord& merged,
                                StagedFile& stage) {
  InodeRecord formed = merged;
  ext2::Inode& raw = formed.raw();
  if (merged.is_directory()) {
    UNIONFS_ASSIGN(const DirectoryForm form, form_directory(from, own, merged, stage));
    raw.i_flags =
        form.is_opaque ? raw.i_flags | ext2::kFlagOpaque : raw.i_flags & ~ext2::kFlagOpaque;
    raw.i_links_count = form.links_count;
  }
  // Without a block map i_block is a device number, or a symlink's target.
  for (uint32_t slot = 0; slot < inode.pointers.size() && merged.has_block_map(); ++slot) {
    raw.i_block[slot] = static_cast<uint32_t>(inode.pointers[slot].value());
  }
  raw.i_blocks = static_cast<uint32_t>(inode.own_blocks *
                                       (from.layout().block_size_bytes / ext2::kSectorSizeBytes));
  return formed;
}

}  // namespace

Result<KeptInodes> form_inodes(const LayerSources& from, const SessionChanges& changes,
                               Ownership& own, StagedFile& stage) {
  KeptInodes kept;
  for (const KeptInode& entry : from.layer.tables().kept_inodes) {
    kept[entry.inode] = entry;
  }
  const std::vector<std::byte> empty(from.layout().inode_size_bytes);
  for (const InodeNumber inode : changes.freed_inodes) {
    if (from.was_own(inode)) {
      kept.erase(inode);
      UNIONFS_TRY(stage.write(slot_offset(from, inode), empty));
    }
  }
  for (auto& [number, inode] : own.inodes) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    // The stage gets one as large in its place.
    const InodeRecord record = std::move(inode.record);
    UNIONFS_ASSIGN(const InodeRecord formed, form_record(from, own, inode, record, stage));
    const ext2::Inode& merged = record.raw();
    kept.erase(number);
    if (formed.raw().i_blocks != merged.i_blocks ||
        formed.raw().i_links_count != merged.i_links_count) {
      kept[number] = {number, merged.i_blocks, merged.i_links_count};
    }
    UNIONFS_TRY(stage.write(slot_offset(from, number), formed.bytes()));
  }
  return kept;
}

}  // namespace unionfs
