// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/opened_upper.h"

#include "overlay/upper/lower_identity.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {
namespace {

namespace format = upper_format;

Result<void> check_same_groups(const Volume& upper, const Layout& below) {
  if (upper.layout().blocks_per_group != below.blocks_per_group) {
    return corrupt("{}: superblock: its groups have {} blocks, not {} as those of the lower",
                   upper.name(), upper.layout().blocks_per_group, below.blocks_per_group);
  }
  return {};
}

// The upper's ext2 part must have the merged geometry, to the last descriptor:
// one numbering for lower, upper and merged.
Result<void> check_same_geometry(const Volume& upper, const Geometry& geometry) {
  const Layout& merged = geometry.merged();
  const Layout& found = upper.layout();
  if (found.block_size_bytes != merged.block_size_bytes ||
      found.block_count != merged.block_count ||
      found.blocks_per_group != merged.blocks_per_group ||
      found.inodes_per_group != merged.inodes_per_group ||
      found.inode_size_bytes != merged.inode_size_bytes ||
      found.has_sparse_super != merged.has_sparse_super ||
      found.has_sparse_super2 != merged.has_sparse_super2 ||
      found.backup_groups != merged.backup_groups ||
      found.has_meta_groups != merged.has_meta_groups ||
      found.first_meta_group != merged.first_meta_group) {
    return corrupt(
        "{}: superblock: its geometry ({} blocks of {} bytes, {} and {} a group) is not "
        "the merged image's ({} blocks of {} bytes, {} and {} a group)",
        upper.name(), found.block_count, found.block_size_bytes, found.blocks_per_group,
        found.inodes_per_group, merged.block_count, merged.block_size_bytes,
        merged.blocks_per_group, merged.inodes_per_group);
  }
  for (uint32_t number = 0; number < merged.group_count(); ++number) {
    const Group& wanted = geometry.groups()[number];
    const Group& group = upper.group(GroupNumber(number));
    if (group.block_bitmap != wanted.block_bitmap || group.inode_bitmap != wanted.inode_bitmap ||
        group.inode_table != wanted.inode_table) {
      return corrupt(
          "{}: group {}: its bitmaps and inode table are not where the merged image "
          "has them",
          upper.name(), number);
    }
  }
  return {};
}

// The features that shape an ext2 image are those of the merged geometry: it would not be the
// image that its superblock speaks of.
Result<void> check_features(const std::string& name, const MergedFeatures& features,
                            const Layout& merged) {
  const auto has_compat = [&](uint32_t bit) { return (features.compat & bit) != 0; };
  const bool says_meta_groups = (features.incompat & ext2::kIncompatMetaBg) != 0;
  if (says_meta_groups != merged.has_meta_groups) {
    return corrupt(
        "{}: state area: the merged image's features are {:#x}, but it {} meta block groups", name,
        features.incompat, merged.has_meta_groups ? "has" : "has no");
  }
  const bool says_sparse_super = (features.ro_compat & ext2::kRoCompatSparseSuper) != 0;
  if (says_sparse_super != merged.has_sparse_super ||
      has_compat(ext2::kCompatSparseSuper2) != merged.has_sparse_super2) {
    return corrupt(
        "{}: state area: the merged image's features ({}) put its superblock copies elsewhere",
        name, feature_names(features.compat, features.incompat, features.ro_compat));
  }
  const bool needs_resize_inode = merged.reserved_gdt_blocks != 0;
  if ((has_compat(ext2::kCompatResizeInode) && merged.has_meta_groups) ||
      (needs_resize_inode && !has_compat(ext2::kCompatResizeInode))) {
    return corrupt(
        "{}: state area: the merged image's features ({}) do not fit its {} reserved descriptor "
        "blocks",
        name, feature_names(features.compat, features.incompat, features.ro_compat),
        merged.reserved_gdt_blocks);
  }
  const bool has_any = features.compat != 0 || features.incompat != 0 || features.ro_compat != 0;
  if (features.rev_level == ext2::kGoodOldRevision &&
      (has_any || merged.inode_size_bytes != ext2::kGoodOldInodeSizeBytes ||
       merged.first_inode != ext2::kGoodOldFirstInode)) {
    return corrupt(
        "{}: state area: the merged image is of revision 0, which cannot have its inodes "
        "or features",
        name);
  }
  return {};
}

Result<OpenedUpper> open_over(const Volume& below, const std::string& name, UpperState state) {
  const StateArea& area = state.area;
  // The upper first: its descriptors are there, so no count of groups that it does not have
  // costs memory.
  UNIONFS_ASSIGN(Volume volume, Volume::open(*state.file, SuperblockUse::kUpper));
  UNIONFS_TRY(check_same_groups(volume, below.layout()));
  UNIONFS_ASSIGN(Geometry grown,
                 Geometry::grow(below, area.merged_block_count * area.block_size_bytes));
  auto geometry = std::make_shared<const Geometry>(std::move(grown));
  UNIONFS_TRY(check_sections(name, area, *geometry));
  UNIONFS_TRY(check_same_geometry(volume, *geometry));
  UNIONFS_ASSIGN(LayerTables tables,
                 read_layer_tables(*state.file, area.layer_tables, geometry->merged()));
  UNIONFS_TRY(check_features(name, tables.features, geometry->merged()));
  LowerRecords records;
  if (area.has_lower_records()) {
    UNIONFS_ASSIGN(records, read_lower_records(*state.file, area.lower_records, below.layout()));
  }
  return OpenedUpper{
      state.file,          std::move(state.stage), state.journal_area, area,
      std::move(geometry), std::move(volume),      std::move(tables),  std::move(records)};
}

// The layout of the lower, which differs from the upper's in nothing but the count of blocks.
Result<Layout> layout_of_lower(const std::string& name, const Layout& upper,
                               const format::LowerIdentity& lower) {
  Layout layout = upper;
  layout.block_count = lower.s_blocks_count;
  if (layout.block_count > upper.block_count ||
      layout.block_count <= upper.first_data_block + uint64_t{1}) {
    return corrupt("{}: state area: its lower has {} blocks, and the merged image {}", name,
                   layout.block_count, upper.block_count);
  }
  return layout;
}

}  // namespace

Result<OpenedUpper> open_upper(const Volume& below, const ReadableFile& upper,
                               const LevelIdentity& level) {
  UNIONFS_ASSIGN(UpperState state, read_upper_state(upper));
  UNIONFS_TRY(check_parent(state.area, level, upper.name()));
  UNIONFS_TRY(check_known_lower(state.area, below, upper.name()));
  return open_over(below, upper.name(), std::move(state));
}

Result<OpenedUpper> open_upper_over_another(const Volume& below, const ReadableFile& upper) {
  UNIONFS_ASSIGN(UpperState state, read_upper_state(upper));
  return open_over(below, upper.name(), std::move(state));
}

// The upper's own layout is the merged image's, and grows by nothing.
Result<OpenedUpper> open_upper_alone(const ReadableFile& upper) {
  const std::string& name = upper.name();
  UNIONFS_ASSIGN(UpperState state, read_upper_state(upper));
  const StateArea& area = state.area;
  UNIONFS_ASSIGN(Volume volume, Volume::open(*state.file, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(Geometry own, Geometry::grow(volume, volume.layout().size_bytes()));
  auto geometry = std::make_shared<const Geometry>(std::move(own));
  UNIONFS_TRY(check_sections(name, area, *geometry));
  UNIONFS_ASSIGN(const Layout lower, layout_of_lower(name, volume.layout(), area.lower.identity));
  UNIONFS_ASSIGN(LayerTables tables,
                 read_layer_tables(*state.file, area.layer_tables, geometry->merged()));
  LowerRecords records;
  if (area.has_lower_records()) {
    UNIONFS_ASSIGN(records, read_lower_records(*state.file, area.lower_records, lower));
  }
  return OpenedUpper{
      state.file,          std::move(state.stage), state.journal_area, area,
      std::move(geometry), std::move(volume),      std::move(tables),  std::move(records)};
}

}  // namespace unionfs
