// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/lower_records_form.h"

#include <optional>

#include "overlay/geometry/number_sets.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {
namespace {

class LowerRecordsForm {
 public:
  LowerRecordsForm(const Volume& lower, const LayerBits& bits, const FormerRecords* former,
                   const std::string& upper_name, const std::atomic<bool>& is_cancelled)
      : lower_(lower),
        bits_(bits),
        former_(former),
        upper_name_(upper_name),
        digests_(lower, bits, is_cancelled),
        used_(lower) {
    if (former != nullptr) {
      former_digests_.emplace(lower, former->bits, is_cancelled);
    }
  }

  Result<LowerRecords> form(const std::vector<TranslatedBlock>& translated) {
    for (uint32_t number = 0; number < lower_.layout().group_count(); ++number) {
      const GroupNumber group(number);
      if (bits_.touches(group)) {
        UNIONFS_TRY(add_group(group));
        UNIONFS_TRY(add_inodes(group));
      }
    }
    for (const TranslatedBlock& entry : translated) {
      if (entry.kind == TranslatedKind::kXattrCount &&
          entry.block.value() < lower_.layout().block_count) {
        UNIONFS_TRY(add_xattr(entry.block));
      }
    }
    return std::move(records_);
  }

 private:
  Result<void> add_group(GroupNumber group) {
    const LowerGroup* known = former_ == nullptr ? nullptr : find_record(former_->records, group);
    if (known != nullptr) {
      records_.groups.push_back(*known);
      return {};
    }
    UNIONFS_ASSIGN(const LowerGroup record, digests_.of(group));
    records_.groups.push_back(record);
    return {};
  }

  Result<void> add_inodes(GroupNumber group) {
    const Layout& layout = lower_.layout();
    for (uint32_t bit = 0; bit < layout.inodes_per_group; ++bit) {
      if (bits_.own_inodes.test(group, bit) || bits_.inode_whiteouts.test(group, bit)) {
        UNIONFS_TRY(add_inode(InodeNumber(group.value() * layout.inodes_per_group + bit + 1)));
      }
    }
    return {};
  }

  Result<void> add_inode(InodeNumber inode) {
    const uint32_t flags = bits_.flags_of(lower_.layout(), inode);
    const uint32_t former_flags =
        former_ == nullptr ? 0 : former_->bits.flags_of(lower_.layout(), inode);
    const LowerInode* known = former_flags == 0 ? nullptr : find_record(former_->records, inode);
    if (flags == former_flags && !former_->is_changed(inode)) {
      if (known != nullptr) {
        records_.inodes.push_back(*known);
      }
      return {};
    }
    if (former_flags == 0) {
      UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
      if (!is_used) {
        return {};
      }
    } else if (known == nullptr) {
      return {};  // the lower does not use it
    }
    if (known != nullptr) {
      UNIONFS_TRY(check_former(*known));
    }
    UNIONFS_ASSIGN(const LowerInode record, digests_.of(inode));
    records_.inodes.push_back(record);
    return {};
  }

  // A new record takes the place of this one.  If it did not hold any more, that would
  // make another lower the right one.
  Result<void> check_former(const LowerInode& known) const {
    UNIONFS_ASSIGN(const LowerInode now, former_digests_->of(known.inode));
    if (now == known) {
      return {};
    }
    return invalid("{}", not_the_lower(lower_.name(), upper_name_,
                                       fmt::format("inode {} was changed meanwhile", known.inode)));
  }

  Result<void> add_xattr(BlockNumber block) {
    const LowerXattr* known = former_ == nullptr ? nullptr : find_record(former_->records, block);
    if (known != nullptr) {
      records_.xattrs.push_back(*known);
      return {};
    }
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(block));
    if (is_used) {
      UNIONFS_ASSIGN(const LowerXattr record, digests_.of(block));
      records_.xattrs.push_back(record);
    }
    return {};
  }

  const Volume& lower_;
  const LayerBits bits_;
  const FormerRecords* former_;
  const std::string& upper_name_;
  const LowerDigests digests_;
  std::optional<LowerDigests> former_digests_;  // with `former_`
  UsedNumbers used_;
  LowerRecords records_;
};

}  // namespace

LayerBits bits_of(const Layer& layer) {
  return {layer.own_blocks(), layer.own_inodes(), layer.block_whiteouts(), layer.inode_whiteouts()};
}

Result<LowerRecords> form_lower_records(const Volume& lower, const LayerBits& bits,
                                        const std::vector<TranslatedBlock>& translated,
                                        const FormerRecords* former, const std::string& upper_name,
                                        const std::atomic<bool>& is_cancelled) {
  return LowerRecordsForm(lower, bits, former, upper_name, is_cancelled).form(translated);
}

}  // namespace unionfs
