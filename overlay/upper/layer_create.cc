// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/layer_create.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "fsparse/inode.h"
#include "overlay/upper/layer.h"
#include "overlay/upper/layer_groups.h"
#include "overlay/upper/lower_identity.h"
#include "overlay/upper/lower_records_form.h"
#include "overlay/upper/state_area.h"

namespace unionfs {
namespace {

class LayerCreator {
 public:
  LayerCreator(const Volume& lower, const Geometry& geometry)
      : lower_(lower),
        geometry_(geometry),
        own_blocks_(geometry.merged().group_count(), geometry.merged().blocks_per_group) {}

  // Nothing is written: what create() goes by.
  Result<LayerNeeds> plan() {
    set_features();
    UNIONFS_ASSIGN(InodeRecord root, read_inode(lower_, kRootDirectory));
    if (!root.is_directory()) {
      return corrupt("{}: inode 2: the root is not a directory (i_mode {:#o})", lower_.name(),
                     root.raw().i_mode);
    }
    UNIONFS_TRY(collect_root_blocks(root));
    std::sort(tables_.translated.begin(), tables_.translated.end(),
              [](const TranslatedBlock& a, const TranslatedBlock& b) { return a.block < b.block; });
    tables_.block_whiteouts = geometry_.released();
    if (!geometry_.released().empty()) {
      add_whiteout(tables_.inode_whiteouts, InodeNumber(ext2::kResizeInode));
    }
    encoded_tables_ = encode_layer_tables(tables_);
    UNIONFS_ASSIGN(const LowerRecords records, record_lower());
    encoded_records_ = encode_lower_records(records);
    area_ = plan_state_area(
        geometry_, {encoded_tables_.size(), tables_.translated.size(), encoded_records_.size()}, 0);
    root_ = std::move(root);
    return LayerNeeds{area_.end(), space_bytes()};
  }

  Result<void> create(WritableFile& upper, const LevelIdentity& level) {
    UNIONFS_TRY(plan());
    UNIONFS_TRY(upper.resize(area_.end()));
    UNIONFS_TRY(upper.write(area_.layer_tables.offset, encoded_tables_));
    UNIONFS_TRY(upper.write(area_.lower_records.offset, encoded_records_));
    UNIONFS_TRY(write_root_blocks(upper));
    UNIONFS_TRY(write_root_inode(upper));
    UNIONFS_TRY(write_groups(upper));
    set_parent(area_, level);
    return write_header(upper);
  }

 private:
  // The host gives space by blocks of its own.
  uint64_t space_bytes() const {
    const Layout& merged = geometry_.merged();
    const auto space_of = [](uint64_t bytes) { return round_up(bytes, upper_format::kPageBytes); };
    uint64_t bytes = space_of(encoded_tables_.size()) + space_of(encoded_records_.size()) +
                     upper_format::kHeaderSlots * upper_format::kPageBytes +
                     (tables_.translated.size() + 1) * space_of(merged.block_size_bytes);
    for (uint32_t number = 0; number < merged.group_count(); ++number) {
      const GroupNumber group(number);
      const uint64_t copies =
          (merged.has_superblock(group) ? 1U : 0U) + uint64_t{merged.descriptor_copy(group).count};
      const bool has_bitmaps = own_blocks_.has_any(group) || number + 1 == merged.group_count() ||
                               geometry_.reserved_inodes_in(group) > 0;
      bytes += (has_bitmaps ? space_of(2 * uint64_t{merged.block_size_bytes}) : 0) +
               space_of(copies * merged.block_size_bytes);
    }
    return bytes;
  }

  // The merged features, and the layer's own beside them.
  void set_features() {
    const ext2::Superblock& below = lower_.superblock().raw();
    const Layout& merged = geometry_.merged();
    MergedFeatures& features = tables_.features;
    features.rev_level = below.s_rev_level;
    if (below.s_rev_level != ext2::kGoodOldRevision) {
      features.compat = below.s_feature_compat;
      features.incompat = below.s_feature_incompat;
      features.ro_compat = below.s_feature_ro_compat;
    }
    if (geometry_.has_appended_groups()) {
      features.compat &= ~ext2::kCompatResizeInode;
    }
    if (merged.has_meta_groups) {
      features.rev_level = ext2::kDynamicRevision;
      features.incompat |= ext2::kIncompatMetaBg;
    }

    superblock_ = below;
    superblock_.s_rev_level = ext2::kDynamicRevision;
    superblock_.s_first_ino = merged.first_inode;
    superblock_.s_inode_size = static_cast<uint16_t>(merged.inode_size_bytes);
    superblock_.s_feature_compat = features.compat & ~ext2::kCompatResizeInode;
    superblock_.s_feature_incompat =
        features.incompat | ext2::kIncompatFiletype | ext2::kIncompatWhiteout;
    superblock_.s_feature_ro_compat = features.ro_compat | ext2::kRoCompatGdtCsum;
    superblock_.s_reserved_gdt_blocks = uint16_t{0};
    superblock_.s_first_meta_bg = merged.first_meta_group;
    superblock_.s_blocks_count = static_cast<uint32_t>(merged.block_count);
    superblock_.s_inodes_count = static_cast<uint32_t>(merged.inode_count());
    superblock_.s_r_blocks_count = static_cast<uint32_t>(
        uint64_t{below.s_r_blocks_count} * merged.block_count / lower_.layout().block_count);
    // 0: the kernel counts; the lower's number is not the grown image's.
    superblock_.s_overhead_clusters = 0U;
  }

  Result<void> collect_root_blocks(const InodeRecord& root) {
    UNIONFS_TRY(directory_block_count(lower_, root));
    UNIONFS_TRY(
        walk_block_map(lower_, root, [this](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          const auto kind =
              role.level == 0 ? TranslatedKind::kDirectory : TranslatedKind::kIndirect;
          UNIONFS_TRY(claim(block, kind, role));
          return WalkStep::kContinue;
        }));
    if (const ClaimedBlock claimed = root.file_acl(); !claimed.is_none()) {
      const std::optional<BlockNumber> inside = lower_.file_block(claimed);
      if (!inside || lower_.is_metadata(*inside)) {
        return corrupt("{}: inode 2: its xattr block {} is not a block of a file", lower_.name(),
                       claimed);
      }
      const BlockNumber xattrs = *inside;
      UNIONFS_TRY(claim(xattrs, TranslatedKind::kXattr, {}));
      UNIONFS_ASSIGN(const auto header, read_structure<ext2::XattrHeader>(
                                            lower_.image(), lower_.layout().offset_of(xattrs)));
      tables_.kept_xattrs.push_back({xattrs, header.h_refcount});
    }
    tables_.reserved_inodes_own = 1U << (kRootDirectory.value() - 1);
    tables_.kept_inodes.push_back({kRootDirectory, root.raw().i_blocks, root.raw().i_links_count});
    return {};
  }

  Result<void> claim(BlockNumber block, TranslatedKind kind, BlockRole role) {
    const GroupNumber group = geometry_.merged().group_of(block);
    const auto bit = static_cast<uint32_t>(block - geometry_.merged().blocks_of(group).begin);
    if (own_blocks_.test(group, bit)) {
      return corrupt("{}: inode 2: block {} is used twice", lower_.name(), block);
    }
    own_blocks_.set(group, bit);
    tables_.translated.push_back({block, kRootDirectory, static_cast<uint32_t>(role.first.value()),
                                  kind, static_cast<uint8_t>(role.level)});
    return {};
  }

  Result<LowerRecords> record_lower() const {
    static const std::atomic<bool> is_cancelled{false};
    const Layout& merged = geometry_.merged();
    GroupBits own_inodes(merged.group_count(), merged.inodes_per_group);
    own_inodes.set(merged.group_of(kRootDirectory), kRootDirectory.value() - 1);
    GroupBits block_whiteouts(merged.group_count(), merged.blocks_per_group);
    GroupBits inode_whiteouts(merged.group_count(), merged.inodes_per_group);
    set_whiteouts(tables_, merged, block_whiteouts, inode_whiteouts);
    const LayerBits bits{own_blocks_, own_inodes, block_whiteouts, inode_whiteouts};
    return form_lower_records(lower_, bits, tables_.translated, nullptr, lower_.name(),
                              is_cancelled);
  }

  Result<void> write_root_blocks(WritableFile& upper) {
    std::vector<std::byte> block(lower_.layout().block_size_bytes);
    for (const TranslatedBlock& entry : tables_.translated) {
      UNIONFS_TRY(lower_.read_block(entry.block, block));
      if (entry.kind == TranslatedKind::kDirectory) {
        UNIONFS_TRY(turn_into_fallthrus(entry, block));
      } else if (entry.kind == TranslatedKind::kXattr) {
        ext2::XattrHeader header;
        std::memcpy(&header, block.data(), sizeof(header));
        header.h_refcount = 1U;  // of the layer's inodes only the root refers to it
        std::memcpy(block.data(), &header, sizeof(header));
      }
      UNIONFS_TRY(upper.write(geometry_.merged().offset_of(entry.block), block));
    }
    return {};
  }

  Result<void> turn_into_fallthrus(const TranslatedBlock& entry, ByteSpan block) {
    const DirectoryPlace place{lower_.name(), kRootDirectory, entry.block};
    return for_each_entry(
        block, DirectoryRules::of(lower_), place, [&](const EntryView& view) -> Result<EntryStep> {
          if (view.kind != EntryKind::kReal) {
            rewrite_entry(block, view.offset, InodeNumber(0), ext2::kFileTypeUnknown);
          } else if (view.name == "." || view.name == "..") {
            rewrite_entry(block, view.offset, kRootDirectory, ext2::kFileTypeDirectory);
          } else {
            rewrite_entry(block, view.offset, InodeNumber(0), ext2::kFileTypeFallthru);
          }
          return EntryStep::kContinue;
        });
  }

  Result<void> write_root_inode(WritableFile& upper) {
    // "." and "..": no other directory is the layer's own.
    root_->raw().i_links_count = uint16_t{2};
    return upper.write(inode_offset(geometry_.merged(), geometry_.groups(), kRootDirectory),
                       root_->bytes());
  }

  Result<void> write_groups(WritableFile& upper) {
    const Layout& merged = geometry_.merged();
    set_mark(superblock_, area_.offset);
    const GroupBits no_inodes(merged.group_count(), merged.inodes_per_group);
    return write_layer_groups(
        upper, geometry_, own_blocks_, no_inodes,
        [&merged](GroupNumber group) { return group == merged.group_of(kRootDirectory) ? 1U : 0U; },
        superblock_, {});
  }

  Result<void> write_header(WritableFile& upper) {
    area_.lower = known_lower(lower_);
    area_.session_number = 1;
    return write_state_header(upper, area_);
  }

  const Volume& lower_;
  const Geometry& geometry_;
  GroupBits own_blocks_;
  LayerTables tables_;
  std::vector<std::byte> encoded_tables_;
  std::vector<std::byte> encoded_records_;
  std::optional<InodeRecord> root_;  // the lower's, until it is written
  StateArea area_;
  ext2::Superblock superblock_;
};

}  // namespace

Result<void> create_layer(WritableFile& upper, const Volume& lower, const Geometry& geometry,
                          const LevelIdentity& level) {
  return LayerCreator(lower, geometry).create(upper, level);
}

Result<LayerNeeds> layer_needs(const Volume& lower, const Geometry& geometry) {
  return LayerCreator(lower, geometry).plan();
}

}  // namespace unionfs
