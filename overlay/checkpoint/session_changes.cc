// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/session_changes.h"

#include <algorithm>

#include "fsparse/sound_blocks.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// The slot without what a mere read changes.
std::vector<std::byte> without_access_time(ConstByteSpan slot) {
  std::vector<std::byte> copy(slot.begin(), slot.end());
  forget_access_time(copy);
  return copy;
}

// A layer shares its numbering with the lower, so what it can express is the
// merged image in its own geometry and no other.
Result<void> check_superblock(const LayerSources& from) {
  if (from.merged.layout() != from.layout()) {
    return unsupported(
        "{}: superblock: the image was reformatted: its geometry or a feature that goes with it "
        "is not the one that was served",
        kMergedImage);
  }
  for (uint32_t number = 0; number < from.layout().group_count(); ++number) {
    const Group& wanted = from.geometry.groups()[number];
    const Group& found = from.merged.groups()[number];
    if (found.block_bitmap != wanted.block_bitmap || found.inode_bitmap != wanted.inode_bitmap ||
        found.inode_table != wanted.inode_table) {
      return unsupported("{}: group {}: the image was reformatted: its metadata is elsewhere",
                         kMergedImage, number);
    }
  }
  if (from.merged.superblock().raw().s_last_orphan != 0) {
    return unsupported("{}: superblock: there is a list of orphan inodes, from inode {} on",
                       kMergedImage, from.merged.superblock().raw().s_last_orphan);
  }
  return {};
}

// One block of fixed metadata that was written.
void sort_fixed(const LayerSources& from, const FixedRange& fixed, BlockNumber block,
                WrittenBlocks& written) {
  switch (fixed.kind) {
    case FixedKind::kInodeTable:
      written.tables.push_back({&fixed, block});
      break;
    case FixedKind::kInodeBitmap:
      written.inode_bitmaps.insert(fixed.group);
      written.groups.insert(fixed.group);
      break;
    case FixedKind::kBlockBitmap:
      written.block_bitmaps.insert(fixed.group);
      written.groups.insert(fixed.group);
      break;
    case FixedKind::kDescriptors: {
      const uint32_t index = fixed.first_index + static_cast<uint32_t>(block - fixed.blocks.begin);
      const uint32_t per_block = from.layout().descriptors_per_block();
      for (uint32_t i = 0; i < per_block; ++i) {
        const uint32_t group = index * per_block + i;
        if (group < from.layout().group_count()) {
          written.groups.insert(GroupNumber(group));
        }
      }
      break;
    }
    case FixedKind::kBoot:
    case FixedKind::kSuperblock:
      break;  // looked at as a whole
  }
}

void sort_range(const LayerSources& from, BlockRange range, WrittenBlocks& written) {
  BlockNumber block = range.begin;
  while (block < range.end) {
    const FixedRange* fixed = from.geometry.fixed_at_or_after(block);
    if (fixed == nullptr || !fixed->blocks.contains(block)) {
      const BlockNumber end =
          fixed == nullptr ? range.end : std::min(range.end, fixed->blocks.begin);
      written.data.push_back({block, end});
      block = end;
      continue;
    }
    sort_fixed(from, *fixed, block, written);
    ++block;
  }
}

WrittenBlocks find_written(const LayerSources& from) {
  WrittenBlocks written;
  const BlockNumber end(from.layout().block_count);
  BlockNumber block(0);
  while (block < end) {
    const SessionBitmap::BitRun run = from.bitmap.run_at(block, end);
    if (run.is_set) {
      sort_range(from, {block, run.end}, written);
      written.count += run.end - block;
    }
    block = run.end;
  }
  return written;
}

// One block of metadata as it was before and as it is now.
struct BlockPair {
  explicit BlockPair(const LayerSources& from)
      : before(from.layout().block_size_bytes), now(from.layout().block_size_bytes) {}

  Result<void> read(const LayerSources& from, BlockNumber block) {
    UNIONFS_TRY(from.before.read_block(block, before));
    return from.merged.read_block(block, now);
  }

  std::vector<std::byte> before;
  std::vector<std::byte> now;
};

Result<void> check_freed_inode(const LayerSources& from, InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord left, read_inode(from.merged, inode));
  if (left.raw().i_links_count != 0) {
    return corrupt("{}: inode {} is marked free, but has {} links", kMergedImage, inode,
                   left.raw().i_links_count);
  }
  return {};
}

Result<void> find_freed_and_new_inodes(const LayerSources& from, SessionChanges& changes) {
  const Layout& layout = from.layout();
  BlockPair bitmap(from);
  for (const GroupNumber group : changes.written.inode_bitmaps) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    UNIONFS_TRY(bitmap.read(from, from.geometry.groups()[group.value()].inode_bitmap));
    for (uint32_t bit = 0; bit < layout.inodes_per_group; ++bit) {
      const InodeNumber inode(group.value() * layout.inodes_per_group + bit + 1);
      const bool was_used = test_bit(bitmap.before, bit);
      const bool is_used = test_bit(bitmap.now, bit);
      if (was_used && !is_used) {
        UNIONFS_TRY(check_freed_inode(from, inode));
        UNIONFS_TRY(add_former_blocks(from, inode, changes.given_up));
        changes.freed_inodes.push_back(inode);
      } else if (!was_used && is_used) {
        changes.inodes.push_back(inode);
      }
    }
  }
  return {};
}

// One slot of an inode table.
Result<void> look_at_slot(const LayerSources& from, InodeNumber inode, ConstByteSpan before,
                          ConstByteSpan now, SessionChanges& changes) {
  UNIONFS_ASSIGN(const bool is_used, from.used.is_used(inode));
  UNIONFS_ASSIGN(const bool was_used, from.used_before.is_used(inode));
  if (is_used && was_used && without_access_time(before) != without_access_time(now)) {
    changes.inodes.push_back(inode);
  } else if (!is_used && !was_used && !is_empty_slot(before) && !same_bytes(before, now)) {
    changes.changed_slots.push_back(inode);
  }
  return {};
}

Result<void> find_changed_slots(const LayerSources& from, SessionChanges& changes) {
  const Layout& layout = from.layout();
  const size_t size = layout.inode_size_bytes;
  BlockPair slots(from);
  for (const auto& [table, block] : changes.written.tables) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    UNIONFS_TRY(slots.read(from, block));
    const uint64_t first_slot = (block - table->blocks.begin) * layout.inodes_per_block();
    for (size_t i = 0; i < layout.inodes_per_block() && first_slot + i < layout.inodes_per_group;
         ++i) {
      const InodeNumber inode(static_cast<uint32_t>(
          uint64_t{table->group.value()} * layout.inodes_per_group + first_slot + i + 1));
      UNIONFS_TRY(look_at_slot(from, inode, ConstByteSpan(slots.before).subspan(i * size, size),
                               ConstByteSpan(slots.now).subspan(i * size, size), changes));
    }
  }
  return {};
}

// A block whose bit was cleared.
Result<void> add_freed(const LayerSources& from, GroupNumber group, BlockNumber block,
                       std::vector<BlockRange>& freed) {
  const FixedRange* fixed = from.geometry.fixed_at_or_after(block);
  if (fixed != nullptr && fixed->blocks.contains(block)) {
    return corrupt("{}: group {}: block {} of the metadata is marked free", kMergedImage, group,
                   block);
  }
  if (!freed.empty() && freed.back().end == block) {
    ++freed.back().end;
  } else {
    freed.push_back({block, block + 1});
  }
  return {};
}

Result<void> find_block_changes(const LayerSources& from, SessionChanges& changes) {
  BlockPair bitmap(from);
  for (const GroupNumber group : changes.written.block_bitmaps) {
    UNIONFS_TRY(check_not_cancelled(from.is_cancelled));
    UNIONFS_TRY(bitmap.read(from, from.geometry.groups()[group.value()].block_bitmap));
    const BlockRange blocks = from.layout().blocks_of(group);
    for (uint64_t bit = 0; bit < blocks.count(); ++bit) {
      const bool was_used = test_bit(bitmap.before, bit);
      const bool is_used = test_bit(bitmap.now, bit);
      if (was_used && !is_used) {
        UNIONFS_TRY(add_freed(from, group, blocks.begin + bit, changes.freed_blocks));
      } else if (is_used && !was_used) {
        changes.used_anew.set(blocks.begin + bit);
      }
    }
  }
  return {};
}

}  // namespace

Result<SessionChanges> find_changes(const LayerSources& from) {
  UNIONFS_TRY(check_superblock(from));
  const Layout& layout = from.layout();
  SessionChanges changes{find_written(from), {}, {}, {}, {}, BlockSet(layout), BlockSet(layout)};
  UNIONFS_TRY(find_freed_and_new_inodes(from, changes));
  UNIONFS_TRY(find_changed_slots(from, changes));
  UNIONFS_TRY(find_block_changes(from, changes));
  return changes;
}

Result<void> add_former_blocks(const LayerSources& from, InodeNumber inode, BlockSet& blocks) {
  UNIONFS_ASSIGN(const bool was_used, from.used_before.is_used(inode));
  if (!was_used) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord former, read_inode(from.before, inode));
  if (const auto xattrs = from.before.file_block(former.file_acl())) {
    blocks.set(*xattrs);
  }
  return walk_sound_blocks(from.before, former,
                           [&blocks](BlockRole, BlockNumber block) -> Result<WalkStep> {
                             blocks.set(block);
                             return WalkStep::kContinue;
                           });
}

}  // namespace unionfs
