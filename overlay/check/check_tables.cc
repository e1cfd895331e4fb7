// SPDX-License-Identifier: BSD-3-Clause
//
// What the state area says: whiteouts, kept counts, counters.
#include "overlay/check/layer_check.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {

void LayerCheck::check_area() {
  constexpr uint32_t kKnown = upper_format::kFlagInUse | upper_format::kFlagUnproven;
  const StateArea& area = from_.area;
  if ((area.flags & ~kKnown) != 0) {
    violation("{}: state area: unknown flags {:#x}", name(), area.flags & ~kKnown);
  }
}

void LayerCheck::check_features() {
  const MergedFeatures& features = from_.tables.features;
  const bool has_meta_groups = (features.incompat & ext2::kIncompatMetaBg) != 0;
  if (has_meta_groups != layout_.has_meta_groups) {
    violation("{}: state area: the merged image's features are {:#x}, but it {} meta block groups",
              name(), features.incompat, layout_.has_meta_groups ? "has" : "has no");
  }
}

Result<void> LayerCheck::check_whiteouts() {
  for (const BlockRange& range : from_.tables.block_whiteouts) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      const FixedRange* fixed = from_.geometry.fixed_at_or_after(block);
      UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(block));
      if (!is_used || (fixed != nullptr && fixed->blocks.contains(block))) {
        violation("{}: block {} is whited out, but the lower has no file's block there", name(),
                  block);
      }
    }
  }
  for (const InodeNumber inode : from_.tables.inode_whiteouts) {
    UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(inode));
    if (!is_used) {
      violation("{}: inode {} is whited out, but free in the lower", name(), inode);
    } else if (inode.value() < layout_.first_inode && inode.value() != ext2::kResizeInode) {
      violation("{}: the reserved inode {} is whited out", name(), inode);
    }
  }
  for (const BlockRange& range : from_.geometry.released()) {
    for (BlockNumber block = range.begin; block < range.end; ++block) {
      if (!block_whiteouts_.test(block)) {
        missing_whiteouts_.insert(block);
        mendable("{}: block {} of the lower's resize inode is not whited out", name(), block);
      }
    }
  }
  if (!from_.geometry.released().empty() &&
      !inode_whiteouts_.test(InodeNumber(ext2::kResizeInode))) {
    violation("{}: the lower's resize inode is not whited out", name());
  }
  return {};
}

// The blocks of a file that is gone are gone.
Result<void> LayerCheck::check_freed_below() {
  for (const InodeNumber inode : from_.tables.inode_whiteouts) {
    UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(inode));
    if (inode.value() < layout_.first_inode || !is_used) {
      continue;
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.lower, inode));
    UNIONFS_TRY(
        walk_block_map(from_.lower, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
          if (!block_whiteouts_.test(block)) {
            missing_whiteouts_.insert(block);
            mendable("{}: block {} of the whited-out inode {} is not whited out", name(), block,
                     inode);
          }
          return WalkStep::kContinue;
        }));
  }
  return {};
}

// ---- the merged image ----------------------------------------------------------

Result<void> LayerCheck::check_merged() {
  UNIONFS_ASSIGN(const auto over_lower, LayerOverLower::load(from_.below, from_.upper_file, {}));
  UNIONFS_ASSIGN(const auto image, MergedImage::open("merged image", over_lower->view()));
  const Layer& layer = over_lower->layer();
  const Volume& merged = image->volume();

  for (const KeptInode& kept : from_.tables.kept_inodes) {
    if (!own_inodes_.test(kept.inode)) {
      mendable("{}: counts are kept for inode {}, which is not own", name(), kept.inode);
    }
  }
  UNIONFS_ASSIGN(const auto inodes, merged_inodes(merged));
  for (const KeptInode& wanted : inodes) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged, wanted.inode));
    if (record.raw().i_blocks != wanted.block_sectors ||
        record.raw().i_links_count != wanted.links_count) {
      mendable("{}: inode {}: the kept counts are {} sectors and {} links, but it has {} and {}",
               name(), wanted.inode, record.raw().i_blocks, record.raw().i_links_count,
               wanted.block_sectors, wanted.links_count);
    }
  }
  UNIONFS_ASSIGN(const auto xattrs, merged_xattrs());
  for (const KeptXattr& wanted : xattrs) {
    const KeptXattr* kept = layer.kept_xattr(wanted.block);
    if (kept != nullptr && kept->refcount != wanted.refcount) {
      mendable("{}: xattr block {}: the kept count is {}, but {} inodes have it", name(),
               wanted.block, kept->refcount, wanted.refcount);
    } else if (kept == nullptr && wanted.refcount != xattr_users_[wanted.block]) {
      mendable("{}: xattr block {}: no count is kept, but {} inodes have it", name(), wanted.block,
               wanted.refcount);
    }
  }
  for (const KeptXattr& kept : from_.tables.kept_xattrs) {
    if (layer.translated(kept.block) == nullptr) {
      mendable("{}: a count is kept for block {}, which is no xattr block", name(), kept.block);
    }
  }
  return check_counters(merged);
}

Result<std::vector<KeptInode>> LayerCheck::merged_inodes(const Volume& merged) const {
  std::vector<KeptInode> wanted;
  for (const auto& [inode, counts] : counts_) {
    if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode) {
      continue;
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged, inode));
    uint64_t block_count = record.file_acl().value() != 0 ? 1 : 0;
    UNIONFS_ASSIGN(const InodeRecord own, read_inode(from_.upper, inode));
    UNIONFS_TRY(walk_block_map(
        merged, record, [&, number = inode](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          ++block_count;
          UNIONFS_ASSIGN(const auto own_block, map_block(from_.upper, own, role));
          if (!own_block && own_blocks_.test(block)) {
            return corrupt("{}: inode {}: block {} falls through, but is another file's own",
                           name(), number, block);
          }
          UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(block));
          if (!own_block && !is_used) {
            return corrupt("{}: inode {}: block {} falls through, but is free below", name(),
                           number, block);
          }
          return WalkStep::kContinue;
        }));
    const uint64_t sectors = block_count * (layout_.block_size_bytes / ext2::kSectorSizeBytes);
    wanted.push_back({inode, static_cast<uint32_t>(sectors), counts.merged_links});
  }
  return wanted;
}

// Counting the lower's users of an xattr block means going through its inodes.
Result<std::vector<KeptXattr>> LayerCheck::merged_xattrs() const {
  std::map<BlockNumber, uint32_t> users = xattr_users_;
  for (const TranslatedBlock& entry : from_.tables.translated) {
    if (entry.kind == TranslatedKind::kXattrCount) {
      users.try_emplace(entry.block, 0);
    }
  }
  const Layout& lower = from_.lower.layout();
  for (uint64_t number = 1; !users.empty() && number <= lower.inode_count(); ++number) {
    const InodeNumber inode(static_cast<uint32_t>(number));
    UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(inode));
    if (!is_used || own_inodes_.test(inode) || inode_whiteouts_.test(inode)) {
      continue;
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.lower, inode));
    const auto found = users.find(record.file_acl());
    if (found != users.end()) {
      ++found->second;
    }
  }
  std::vector<KeptXattr> wanted;
  for (const auto& [block, count] : users) {
    wanted.push_back({block, count});
  }
  return wanted;
}

bool LayerCheck::is_group_touched(GroupNumber group) const {
  const auto& counters = from_.tables.counters;
  return own_blocks_.bits().has_any(group) || own_inodes_.bits().has_any(group) ||
         block_whiteouts_.bits().has_any(group) || inode_whiteouts_.bits().has_any(group) ||
         std::any_of(counters.begin(), counters.end(),
                     [group](const GroupCounters& entry) { return entry.group == group; });
}

Result<GroupCounters> LayerCheck::merged_counters(const Volume& merged, GroupNumber group) const {
  GroupCounters wanted{group, 0, 0, 0};
  std::vector<std::byte> bits(layout_.block_size_bytes);
  const uint64_t block_count = layout_.blocks_of(group).count();
  UNIONFS_TRY(merged.read_block(merged.group(group).block_bitmap, bits));
  wanted.free_blocks_count = static_cast<uint32_t>(block_count - count_bits(bits, 0, block_count));
  UNIONFS_TRY(merged.read_block(merged.group(group).inode_bitmap, bits));
  for (uint32_t bit = 0; bit < layout_.inodes_per_group; ++bit) {
    if (!test_bit(bits, bit)) {
      ++wanted.free_inodes_count;
      continue;
    }
    const InodeNumber inode(group.value() * layout_.inodes_per_group + bit + 1);
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged, inode));
    wanted.used_dirs_count += record.is_directory() ? 1 : 0;
  }
  return wanted;
}

Result<void> LayerCheck::check_counters(const Volume& merged) {
  for (uint32_t number = 0; number < layout_.group_count(); ++number) {
    const GroupNumber group(number);
    if (!is_group_touched(group)) {
      continue;  // as the lower has it
    }
    UNIONFS_ASSIGN(const GroupCounters wanted, merged_counters(merged, group));
    const Group& found = merged.group(group);
    if (found.free_blocks_count != wanted.free_blocks_count ||
        found.free_inodes_count != wanted.free_inodes_count ||
        found.used_dirs_count != wanted.used_dirs_count) {
      mendable(
          "{}: group {}: the merged counters are {} free blocks, {} free inodes, {} "
          "directories, but the bitmaps and inodes make {}, {}, {}",
          name(), group, found.free_blocks_count, found.free_inodes_count, found.used_dirs_count,
          wanted.free_blocks_count, wanted.free_inodes_count, wanted.used_dirs_count);
    }
  }
  return {};
}

}  // namespace unionfs
