// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/merged_check.h"

#include <algorithm>

#include "overlay/merged/merged_image.h"

namespace unionfs {

// ---- counting ------------------------------------------------------------------

namespace {

class MergedCount {
 public:
  MergedCount(const CheckSources& sources, const LayerFacts& facts, LowerSide& lower,
              const Volume& merged)
      : from_(sources),
        layout_(sources.layout()),
        facts_(facts),
        lower_(lower),
        merged_(merged),
        has_counters_(layout_.group_count()) {
    for (const GroupCounters& entry : sources.tables.counters) {
      has_counters_[entry.group.value()] = true;
    }
  }

  Result<MergedCounts> run() {
    MergedCounts counts;
    UNIONFS_TRY(count_inodes(counts.inodes));
    UNIONFS_TRY(count_xattrs(counts.xattrs));
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      if (is_touched(GroupNumber(number))) {  // the others are as the lower has them
        UNIONFS_ASSIGN(const GroupCounters counters, count_group(GroupNumber(number)));
        counts.counters.push_back(counters);
      }
    }
    return counts;
  }

 private:
  Result<void> count_inodes(std::vector<KeptInode>& counted) {
    for (const auto& [inode, own] : facts_.files.inodes) {
      if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode) {
        continue;  // e2fsck does not look at theirs
      }
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged_, inode));
      UNIONFS_ASSIGN(uint64_t block_count, count_blocks(record));
      block_count += record.file_acl().is_none() ? 0 : 1;
      const uint64_t sectors = block_count * (layout_.block_size_bytes / ext2::kSectorSizeBytes);
      const auto links = facts_.links.find(inode);
      counted.push_back({inode, static_cast<uint32_t>(sectors),
                         links == facts_.links.end() ? 0 : links->second.in_merged});
    }
    return {};
  }

  // Blocks of the merged inode's map.  One that is not own in this role must
  // be the lower's.
  Result<uint64_t> count_blocks(const InodeRecord& record) {
    UNIONFS_ASSIGN(const InodeRecord own, read_inode(from_.upper, record.number()));
    uint64_t count = 0;
    const Result<void> walked =
        walk_block_map(merged_, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          ++count;
          UNIONFS_ASSIGN(const auto own_block, map_block(from_.upper, own, role));
          if (!own_block && facts_.numbers.own_blocks.test(block)) {
            return corrupt("{}: inode {}: block {} falls through, but is another file's own",
                           from_.upper.name(), own.number(), block);
          }
          UNIONFS_ASSIGN(const bool is_used, lower_.is_used(block));
          if (!own_block && !is_used) {
            return corrupt("{}: inode {}: block {} falls through, but is free below",
                           from_.upper.name(), own.number(), block);
          }
          return WalkStep::kContinue;
        });
    if (!walked) {
      // What falls through may be damaged in the lower already.
      UNIONFS_TRY(lower_.check_blocks(record.number()));
      return Failure(walked.error());
    }
    return count;
  }

  // Only a walk over the lower's inodes tells which of them use an xattr block.
  Result<void> count_xattrs(std::vector<KeptXattr>& counted) {
    std::map<BlockNumber, uint32_t> users = facts_.files.xattr_users;
    for (const TranslatedBlock& entry : from_.tables.translated) {
      if (entry.kind == TranslatedKind::kXattrCount) {
        users.try_emplace(entry.block, 0);
      }
    }
    for (uint64_t number = 1; !users.empty() && number <= lower_.layout().inode_count(); ++number) {
      const InodeNumber inode(static_cast<uint32_t>(number));
      UNIONFS_ASSIGN(const bool is_used, lower_.is_used(inode));
      if (!is_used || facts_.numbers.own_inodes.test(inode) ||
          facts_.numbers.inode_whiteouts.test(inode)) {
        continue;
      }
      UNIONFS_ASSIGN(const InodeRecord record, lower_.inode(inode));
      const auto block = layout_.block(record.file_acl());
      if (const auto found = block ? users.find(*block) : users.end(); found != users.end()) {
        ++found->second;
      }
    }
    for (const auto& [block, count] : users) {
      counted.push_back({block, count});
    }
    return {};
  }

  bool is_touched(GroupNumber group) const {
    const LayerNumbers& numbers = facts_.numbers;
    return numbers.own_blocks.bits().has_any(group) || numbers.own_inodes.bits().has_any(group) ||
           numbers.block_whiteouts.bits().has_any(group) ||
           numbers.inode_whiteouts.bits().has_any(group) || has_counters_[group.value()];
  }

  Result<GroupCounters> count_group(GroupNumber group) {
    GroupCounters counted{group, 0, 0, 0};
    std::vector<std::byte> bits(layout_.block_size_bytes);
    const uint64_t block_count = layout_.blocks_of(group).count();
    UNIONFS_TRY(merged_.read_block(merged_.group(group).block_bitmap, bits));
    counted.free_blocks_count =
        static_cast<uint32_t>(block_count - count_bits(bits, 0, block_count));
    UNIONFS_TRY(merged_.read_block(merged_.group(group).inode_bitmap, bits));
    for (uint32_t bit = 0; bit < layout_.inodes_per_group; ++bit) {
      if (!test_bit(bits, bit)) {
        ++counted.free_inodes_count;
        continue;
      }
      const InodeNumber inode(group.value() * layout_.inodes_per_group + bit + 1);
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged_, inode));
      counted.used_dirs_count += record.is_directory() ? 1 : 0;
    }
    return counted;
  }

  const CheckSources& from_;
  const Layout& layout_;
  const LayerFacts& facts_;
  LowerSide& lower_;
  const Volume& merged_;
  std::vector<bool> has_counters_;  // by group: whether the tables keep its counters
};

}  // namespace

Result<MergedCounts> count_merged(const CheckSources& sources, const LayerFacts& facts,
                                  LowerSide& lower, const Volume& merged) {
  return MergedCount(sources, facts, lower, merged).run();
}

// ---- comparing -----------------------------------------------------------------

namespace {

Result<void> check_inodes(const MergedCounts& counts, const Volume& merged,
                          Violations& violations) {
  for (const KeptInode& wanted : counts.inodes) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged, wanted.inode));
    if (record.raw().i_blocks != wanted.block_sectors ||
        record.raw().i_links_count != wanted.links_count) {
      violations.add_mendable(
          "inode {}: the kept counts are {} sectors and {} links, but it has {} and {}",
          wanted.inode, record.raw().i_blocks, record.raw().i_links_count, wanted.block_sectors,
          wanted.links_count);
    }
  }
  return {};
}

void check_xattrs(const MergedCounts& counts, const std::map<BlockNumber, uint32_t>& own_users,
                  const Layer& layer, Violations& violations) {
  for (const KeptXattr& wanted : counts.xattrs) {
    const KeptXattr* kept = layer.kept_xattr(wanted.block);
    const auto own = own_users.find(wanted.block);
    const uint32_t own_count = own == own_users.end() ? 0 : own->second;
    if (kept != nullptr && kept->refcount != wanted.refcount) {
      violations.add_mendable("xattr block {}: the kept count is {}, but {} inodes have it",
                              wanted.block, kept->refcount, wanted.refcount);
    } else if (kept == nullptr && wanted.refcount != own_count) {
      violations.add_mendable("xattr block {}: no count is kept, but {} inodes have it",
                              wanted.block, wanted.refcount);
    }
  }
  for (const KeptXattr& kept : layer.tables().kept_xattrs) {
    if (layer.translated(kept.block) == nullptr) {
      violations.add_mendable("a count is kept for block {}, which is no xattr block", kept.block);
    }
  }
}

void check_counters(const MergedCounts& counts, const Volume& merged, Violations& violations) {
  for (const GroupCounters& wanted : counts.counters) {
    const Group& found = merged.group(wanted.group);
    if (found.free_blocks_count != wanted.free_blocks_count ||
        found.free_inodes_count != wanted.free_inodes_count ||
        found.used_dirs_count != wanted.used_dirs_count) {
      violations.add_mendable(
          "group {}: the merged counters are {} free blocks, {} free inodes, {} "
          "directories, but the bitmaps and inodes make {}, {}, {}",
          wanted.group, found.free_blocks_count, found.free_inodes_count, found.used_dirs_count,
          wanted.free_blocks_count, wanted.free_inodes_count, wanted.used_dirs_count);
    }
  }
}

Result<void> compare_merged(const CheckSources& sources, const LayerFacts& facts, LowerSide& lower,
                            Violations& violations) {
  UNIONFS_ASSIGN(const auto over_lower,
                 LayerOverLower::load(sources.below, sources.upper_file, {}));
  UNIONFS_ASSIGN(const auto merged, MergedImage::open("merged image", over_lower->view()));
  for (const KeptInode& kept : sources.tables.kept_inodes) {
    if (!facts.numbers.own_inodes.test(kept.inode)) {
      violations.add_mendable("counts are kept for inode {}, which is not own", kept.inode);
    }
  }
  UNIONFS_ASSIGN(const MergedCounts counts, count_merged(sources, facts, lower, merged->volume()));
  UNIONFS_TRY(check_inodes(counts, merged->volume(), violations));
  check_xattrs(counts, facts.files.xattr_users, over_lower->layer(), violations);
  check_counters(counts, merged->volume(), violations);
  return {};
}

}  // namespace

Result<void> check_merged(const CheckSources& sources, const LayerFacts& facts, LowerSide& lower,
                          Violations& violations) {
  return violations.take(compare_merged(sources, facts, lower, violations));
}

}  // namespace unionfs
