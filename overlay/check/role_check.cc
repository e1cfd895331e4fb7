// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/role_check.h"

#include <optional>

#include "fsparse/paired_walk.h"

namespace unionfs {
namespace {

// Which blocks of the lower lost their role, and who had them.
struct LostRoles {
  explicit LostRoles(const Layout& layout) : kept(layout) {}

  std::map<BlockNumber, InodeNumber> lost;
  BlockSet kept;  // blocks that an own inode has in the lower's role
};

// Walks the lower's map of an inode that is own, or whited out, beside the layer's map.
class RoleVisitor final : public PairedVisitor {
 public:
  RoleVisitor(const LayerNumbers& numbers, InodeNumber inode, bool may_fall_through,
              LostRoles& roles)
      : numbers_(numbers), inode_(inode), may_fall_through_(may_fall_through), roles_(roles) {}

  // `place.block` is the lower's, `place.below` the layer's pointer in the same role.
  Result<PairedStep> enter(const PairedBlock& place) override {
    const bool is_hole = place.below.is_none();
    const bool is_whited_out = numbers_.block_whiteouts.test(place.block);
    if (is_hole && may_fall_through_ && !cut_off_at_ && !is_whited_out) {
      roles_.kept.set(place.block);
      return PairedStep::kSkip;  // it falls through, with all that hangs below it
    }
    if (place.below == place.block) {
      roles_.kept.set(place.block);
    } else if (!is_whited_out) {
      roles_.lost.emplace(place.block, inode_);
    }
    if (is_hole && !cut_off_at_) {
      cut_off_at_ = place.block;
    }
    return PairedStep::kContinue;
  }

  Result<bool> leave(const PairedBlock& place, std::span<const ClaimedBlock>) override {
    if (cut_off_at_ == place.block) {
      cut_off_at_.reset();
    }
    return true;
  }

 private:
  const LayerNumbers& numbers_;
  const InodeNumber inode_;
  const bool may_fall_through_;
  LostRoles& roles_;
  std::optional<BlockNumber> cut_off_at_;  // of which nothing is left in the merged image
};

class RoleCheck {
 public:
  RoleCheck(const CheckSources& sources, const LayerNumbers& numbers, const OwnFiles& files,
            LowerSide& lower, Violations& violations)
      : from_(sources),
        numbers_(numbers),
        files_(files),
        lower_(lower),
        violations_(violations),
        roles_(sources.layout()) {}

  Result<std::set<BlockNumber>> run() {
    for (const InodeRange& range : from_.tables.inode_whiteouts) {
      for (InodeNumber inode = range.begin; inode < range.end; ++inode) {
        if (!files_.inodes.contains(inode)) {
          UNIONFS_TRY(look_at(inode));
        }
      }
    }
    for (const auto& [inode, own] : files_.inodes) {
      UNIONFS_TRY(look_at(inode));
    }
    if (!roles_.lost.empty()) {
      UNIONFS_TRY(keep_those_of_others());
    }
    std::set<BlockNumber> missing;
    for (const auto& [block, inode] : roles_.lost) {
      if (!roles_.kept.test(block)) {
        missing.insert(block);
        violations_.add_mendable(
            "block {} of the lower's inode {} is gone from the merged image, but is not whited "
            "out",
            block, inode);
      }
    }
    return missing;
  }

 private:
  // The blocks of the resize inode are the geometry's business.
  bool is_resize_inode(InodeNumber inode) const {
    return inode.value() == ext2::kResizeInode && numbers_.inode_whiteouts.test(inode);
  }

  Result<void> look_at(InodeNumber inode) {
    UNIONFS_ASSIGN(const bool is_below, lower_.is_used(inode));
    if (!is_below || is_resize_inode(inode)) {
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord record, lower_.inode(inode));
    SlotPointers own_slots = {};
    bool may_fall_through = false;
    if (files_.inodes.contains(inode)) {
      UNIONFS_ASSIGN(const InodeRecord own, read_inode(from_.upper, inode));
      own_slots = slot_pointers(own);
      may_fall_through =
          own.is_regular() && record.is_regular() && !numbers_.inode_whiteouts.test(inode);
    }
    RoleVisitor visitor(numbers_, inode, may_fall_through, roles_);
    UNIONFS_TRY(of_lower(walk_paired(from_.lower, record, from_.upper, own_slots, visitor)));
    look_at_xattrs(record);
    return {};
  }

  // While anybody has the lower's xattr block, the layer keeps its count.
  void look_at_xattrs(const InodeRecord& record) {
    const std::optional<BlockNumber> block = from_.lower.file_block(record.file_acl());
    if (!block || numbers_.block_whiteouts.test(*block)) {
      return;
    }
    if (files_.xattr_users.contains(*block)) {
      roles_.kept.set(*block);
    } else {
      roles_.lost.emplace(*block, record.number());
    }
  }

  // A block that an inode which falls through has, too, keeps its role.
  Result<void> keep_those_of_others() {
    for (uint64_t number = 1; number <= from_.lower.layout().inode_count(); ++number) {
      const InodeNumber inode(static_cast<uint32_t>(number));
      UNIONFS_ASSIGN(const bool is_used, lower_.is_used(inode));
      if (!is_used || files_.inodes.contains(inode) || numbers_.inode_whiteouts.test(inode)) {
        continue;
      }
      UNIONFS_ASSIGN(const InodeRecord record, lower_.inode(inode));
      if (const auto xattrs = from_.lower.file_block(record.file_acl())) {
        roles_.kept.set(*xattrs);
      }
      UNIONFS_TRY(lower_.walk_blocks(record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
        roles_.kept.set(block);
        return WalkStep::kContinue;
      }));
    }
    return {};
  }

  const CheckSources& from_;
  const LayerNumbers& numbers_;
  const OwnFiles& files_;
  LowerSide& lower_;
  Violations& violations_;
  LostRoles roles_;
};

}  // namespace

Result<std::set<BlockNumber>> check_roles(const CheckSources& sources, const LayerNumbers& numbers,
                                          const OwnFiles& files, LowerSide& lower,
                                          Violations& violations) {
  return RoleCheck(sources, numbers, files, lower, violations).run();
}

}  // namespace unionfs
