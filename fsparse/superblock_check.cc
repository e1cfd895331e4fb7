// SPDX-License-Identifier: BSD-3-Clause
//
// Which superblocks are taken: each field against its range, then against the
// others, then against the size of the image.  Nothing is allocated from a
// number before it has been checked here.
#include <algorithm>
#include <bit>
#include <string_view>

#include "fsparse/superblock.h"

namespace unionfs {
namespace {

struct FeatureName {
  uint32_t bit;
  std::string_view name;
};

constexpr FeatureName kCompatNames[] = {
    {0x0001, "dir_prealloc"}, {0x0002, "imagic_inodes"}, {0x0004, "has_journal"},
    {0x0008, "ext_attr"},     {0x0010, "resize_inode"},  {0x0020, "dir_index"},
    {0x0040, "lazy_bg"},      {0x0080, "snapshot"},      {0x0200, "sparse_super2"},
    {0x0400, "fast_commit"},  {0x0800, "stable_inodes"}, {0x1000, "orphan_file"},
};
constexpr FeatureName kIncompatNames[] = {
    {0x00001, "compression"},
    {0x00002, "filetype"},
    {0x00004, "needs_recovery"},
    {0x00008, "journal_dev"},
    {0x00010, "meta_bg"},
    {0x00020, "whiteout"},
    {0x00040, "extent"},
    {0x00080, "64bit"},
    {0x00100, "mmp"},
    {0x00200, "flex_bg"},
    {0x00400, "ea_inode"},
    {0x01000, "dirdata"},
    {0x02000, "metadata_csum_seed"},
    {0x04000, "large_dir"},
    {0x08000, "inline_data"},
    {0x10000, "encrypt"},
    {0x20000, "casefold"},
};
constexpr FeatureName kRoCompatNames[] = {
    {0x0001, "sparse_super"}, {0x0002, "large_file"},      {0x0004, "btree_dir"},
    {0x0008, "huge_file"},    {0x0010, "uninit_bg"},       {0x0020, "dir_nlink"},
    {0x0040, "extra_isize"},  {0x0080, "has_snapshot"},    {0x0100, "quota"},
    {0x0200, "bigalloc"},     {0x0400, "metadata_csum"},   {0x0800, "replica"},
    {0x1000, "read-only"},    {0x2000, "project"},         {0x4000, "shared_blocks"},
    {0x8000, "verity"},       {0x10000, "orphan_present"},
};

template <size_t Count>
void append_names(std::string& text, uint32_t word, const FeatureName (&names)[Count],
                  std::string_view word_name) {
  for (const FeatureName& feature : names) {
    if ((word & feature.bit) != 0) {
      text += text.empty() ? "" : ", ";
      text += feature.name;
      word &= ~feature.bit;
    }
  }
  if (word != 0) {
    text += fmt::format("{}{} {:#x}", text.empty() ? "" : ", ", word_name, word);
  }
}

constexpr uint32_t kKnownIncompat = ext2::kIncompatFiletype | ext2::kIncompatMetaBg;
constexpr uint32_t kKnownRoCompat =
    ext2::kRoCompatSparseSuper | ext2::kRoCompatLargeFile | ext2::kRoCompatBtreeDir;
// A compatible feature we do not know may stay, but not those that tie other
// inodes or a journal to the image: we would hand them out unexplained.
constexpr uint32_t kRefusedCompat = ext2::kCompatHasJournal | ext2::kCompatOrphanFile;

Result<void> check_features(const Image& image, const ext2::Superblock& raw, SuperblockUse use) {
  if (raw.s_rev_level == ext2::kGoodOldRevision) {
    return {};
  }
  const uint32_t compat = raw.s_feature_compat & kRefusedCompat;
  uint32_t incompat = raw.s_feature_incompat & ~kKnownIncompat;
  uint32_t ro_compat = raw.s_feature_ro_compat & ~kKnownRoCompat;
  if (use == SuperblockUse::kUpper) {
    ro_compat &= (incompat & ext2::kIncompatWhiteout) != 0 ? ~ext2::kRoCompatGdtCsum : ~0U;
    incompat &= ~ext2::kIncompatWhiteout;
  } else if ((incompat & ext2::kIncompatWhiteout) != 0) {
    return unsupported("{}: is an upper (it has the whiteout feature); a layer cannot be a lower",
                       image.name());
  }
  if (compat == 0 && incompat == 0 && ro_compat == 0) {
    return {};
  }
  const char* kind = "not a plain ext2 image";
  const char* remedy =
      use == SuperblockUse::kLower ? "; unionfs-img mkbase makes a lower of it" : "";
  if ((incompat & ~0x4U) != 0 || ro_compat != 0) {
    kind = "an ext4 image or newer";
  } else if (compat == ext2::kCompatHasJournal) {
    kind = "an ext3 image";
  } else {
    remedy = "";
  }
  return unsupported("{}: is {}: unsupported features: {}{}", image.name(), kind,
                     feature_names(compat, incompat, ro_compat), remedy);
}

Result<void> check_numbers(const Image& image, const ext2::Superblock& raw) {
  const std::string& name = image.name();
  if (raw.s_log_block_size > 2) {
    return unsupported(
        "{}: superblock: s_log_block_size {} is not supported (0, 1 or 2: blocks "
        "of 1, 2 or 4 KiB)",
        name, raw.s_log_block_size);
  }
  const uint32_t block_size = ext2::kMinBlockSizeBytes << raw.s_log_block_size;
  if (raw.s_log_frag_size != raw.s_log_block_size) {
    return unsupported("{}: superblock: s_log_frag_size {} differs from s_log_block_size {}", name,
                       raw.s_log_frag_size, raw.s_log_block_size);
  }
  const uint32_t first_data_block = block_size == ext2::kMinBlockSizeBytes ? 1 : 0;
  if (raw.s_first_data_block != first_data_block) {
    return corrupt("{}: superblock: s_first_data_block is {}, not {}", name, raw.s_first_data_block,
                   first_data_block);
  }
  const uint32_t bits_per_block = block_size * ext2::kBitsPerByte;
  if (raw.s_blocks_per_group < 64 || raw.s_blocks_per_group > bits_per_block ||
      raw.s_blocks_per_group % ext2::kBitsPerByte != 0) {
    return corrupt("{}: superblock: s_blocks_per_group {} is not a multiple of 8 from 64 to {}",
                   name, raw.s_blocks_per_group, bits_per_block);
  }
  if (raw.s_frags_per_group != raw.s_blocks_per_group) {
    return corrupt("{}: superblock: s_frags_per_group {} differs from s_blocks_per_group {}", name,
                   raw.s_frags_per_group, raw.s_blocks_per_group);
  }
  if (raw.s_inodes_per_group == 0 || raw.s_inodes_per_group > bits_per_block) {
    return corrupt("{}: superblock: s_inodes_per_group {} is not from 1 to {}", name,
                   raw.s_inodes_per_group, bits_per_block);
  }
  if (raw.s_blocks_count <= first_data_block) {
    return corrupt("{}: superblock: s_blocks_count is {}", name, raw.s_blocks_count);
  }
  if (raw.s_r_blocks_count > raw.s_blocks_count) {
    return corrupt("{}: superblock: s_r_blocks_count {} is over s_blocks_count {}", name,
                   raw.s_r_blocks_count, raw.s_blocks_count);
  }
  if (raw.s_free_blocks_count > raw.s_blocks_count) {
    return corrupt("{}: superblock: s_free_blocks_count {} is over s_blocks_count {}", name,
                   raw.s_free_blocks_count, raw.s_blocks_count);
  }
  if (raw.s_free_inodes_count > raw.s_inodes_count) {
    return corrupt("{}: superblock: s_free_inodes_count {} is over s_inodes_count {}", name,
                   raw.s_free_inodes_count, raw.s_inodes_count);
  }
  return {};
}

Result<void> check_dynamic_numbers(const Image& image, const ext2::Superblock& raw) {
  if (raw.s_rev_level == ext2::kGoodOldRevision) {
    return {};
  }
  const std::string& name = image.name();
  const uint32_t block_size = ext2::kMinBlockSizeBytes << raw.s_log_block_size;
  const uint32_t inode_size = raw.s_inode_size;
  if (inode_size < ext2::kGoodOldInodeSizeBytes || inode_size > block_size ||
      !std::has_single_bit(inode_size)) {
    return corrupt("{}: superblock: s_inode_size {} is not a power of two from 128 to {}", name,
                   inode_size, block_size);
  }
  if (raw.s_first_ino < ext2::kGoodOldFirstInode || raw.s_first_ino > raw.s_inodes_count) {
    return corrupt("{}: superblock: s_first_ino {} is not from {} to s_inodes_count {}", name,
                   raw.s_first_ino, ext2::kGoodOldFirstInode, raw.s_inodes_count);
  }
  if (raw.s_reserved_gdt_blocks > block_size / 4) {
    return corrupt("{}: superblock: s_reserved_gdt_blocks {} is over {}", name,
                   raw.s_reserved_gdt_blocks, block_size / 4);
  }
  const bool has_resize_inode = (raw.s_feature_compat & ext2::kCompatResizeInode) != 0;
  if (!has_resize_inode && raw.s_reserved_gdt_blocks != 0) {
    return corrupt("{}: superblock: s_reserved_gdt_blocks {} without the resize_inode feature",
                   name, raw.s_reserved_gdt_blocks);
  }
  if (has_resize_inode && (raw.s_feature_incompat & ext2::kIncompatMetaBg) != 0) {
    return corrupt("{}: superblock: has both the resize_inode and the meta_bg feature", name);
  }
  return {};
}

Result<void> check_relations(const Image& image, const ext2::Superblock& raw,
                             const Layout& layout) {
  const std::string& name = image.name();
  if (layout.inode_count() != raw.s_inodes_count) {
    return corrupt("{}: superblock: s_inodes_count is {}, but {} groups of {} inodes make {}", name,
                   raw.s_inodes_count, layout.group_count(), layout.inodes_per_group,
                   layout.inode_count());
  }
  if (layout.first_inode > layout.inode_count()) {
    return corrupt("{}: superblock: s_inodes_count {} leaves no inode that is not reserved", name,
                   layout.inode_count());
  }
  if (layout.inode_table_block_count() + 3 > layout.blocks_per_group) {
    return corrupt("{}: superblock: an inode table of {} blocks does not fit a group of {}", name,
                   layout.inode_table_block_count(), layout.blocks_per_group);
  }
  if (layout.has_meta_groups && layout.first_meta_group > layout.descriptor_block_count()) {
    return corrupt("{}: superblock: s_first_meta_bg {} is over the {} descriptor blocks", name,
                   layout.first_meta_group, layout.descriptor_block_count());
  }
  if (layout.has_sparse_super2) {
    for (const uint32_t group : layout.backup_groups) {
      if (group >= layout.group_count()) {
        return corrupt("{}: superblock: s_backup_bgs names group {} of {}", name, group,
                       layout.group_count());
      }
    }
  }
  if (layout.size_bytes() > image.size_bytes()) {
    return corrupt("{}: is cut short: {} bytes, but its superblock says {} blocks of {} bytes",
                   name, image.size_bytes(), layout.block_count, layout.block_size_bytes);
  }
  return {};
}

Result<void> check_state(const Image& image, const ext2::Superblock& raw, SuperblockUse use) {
  const std::string remedy = use == SuperblockUse::kMerged
                                 ? "unionfs-img checkpoint --fsck"
                                 : fmt::format("e2fsck -f {}", image.name());
  if ((raw.s_state & ext2::kStateError) != 0) {
    return unsupported("{}: is marked as having errors; mend it with: {}", image.name(), remedy);
  }
  if ((raw.s_state & ext2::kStateValid) == 0) {
    return unsupported("{}: was not cleanly unmounted; unmount it, or mend it with: {}",
                       image.name(), remedy);
  }
  return {};
}

}  // namespace

std::string refused_features(uint32_t compat, uint32_t incompat, uint32_t ro_compat) {
  return feature_names(compat & kRefusedCompat, incompat & ~kKnownIncompat,
                       ro_compat & ~kKnownRoCompat);
}

std::string feature_names(uint32_t compat, uint32_t incompat, uint32_t ro_compat) {
  std::string text;
  append_names(text, compat, kCompatNames, "compat");
  append_names(text, incompat, kIncompatNames, "incompat");
  append_names(text, ro_compat, kRoCompatNames, "ro_compat");
  return text;
}

Result<Superblock> Superblock::read(const Image& image, SuperblockUse use) {
  if (image.size_bytes() < ext2::kSuperblockOffsetBytes + ext2::kSuperblockSizeBytes) {
    return corrupt("{}: is not an ext2 image: only {} bytes long", image.name(),
                   image.size_bytes());
  }
  UNIONFS_ASSIGN(const auto raw,
                 read_structure<ext2::Superblock>(image, ext2::kSuperblockOffsetBytes));
  if (raw.s_magic != ext2::kMagic) {
    return corrupt("{}: is not an ext2 image: magic {:#06x} where {:#06x} belongs", image.name(),
                   raw.s_magic, ext2::kMagic);
  }
  if (raw.s_rev_level > ext2::kDynamicRevision) {
    return unsupported("{}: superblock: s_rev_level {} is not known", image.name(),
                       raw.s_rev_level);
  }
  UNIONFS_TRY(check_features(image, raw, use));
  UNIONFS_TRY(check_numbers(image, raw));
  UNIONFS_TRY(check_dynamic_numbers(image, raw));
  const Layout layout = layout_of(raw);
  UNIONFS_TRY(check_relations(image, raw, layout));
  UNIONFS_TRY(check_state(image, raw, use));
  return Superblock(raw, layout);
}

}  // namespace unionfs
