// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/foreign_tree.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "fsparse/bitmap.h"
#include "fsparse/xattr.h"
#include "overlay/geometry/geometry.h"
#include "overlay/upper/state_area.h"

namespace unionfs {
namespace {

// Where an upper of ours has its state area.  If it is there, the mark was
// lost: as a foreign upper everything that falls through would read as zeros.
Result<bool> has_state_area(const Image& image, const Layout& layout) {
  const uint64_t offset = round_up(layout.size_bytes(), upper_format::kStateAlignmentBytes);
  for (uint32_t slot = 0; slot < upper_format::kHeaderSlots; ++slot) {
    const uint64_t place = offset + slot * upper_format::kPageBytes;
    if (place + sizeof(upper_format::kHeaderMagic) > image.size_bytes()) {
      return false;
    }
    using Magic = std::array<char, sizeof(upper_format::kHeaderMagic)>;
    UNIONFS_ASSIGN(const auto magic, read_structure<Magic>(image, place));
    if (magic == upper_format::kHeaderMagic) {
      return true;
    }
  }
  return false;
}

uint64_t metadata_blocks(const Volume& volume) {
  const Layout& layout = volume.layout();
  uint64_t blocks = 0;
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    const GroupNumber group(number);
    blocks += (layout.has_superblock(group) ? 1U + layout.reserved_gdt_blocks : 0U) +
              layout.descriptor_copy(group).count + 2 + layout.inode_table_block_count();
  }
  return blocks;
}

uint64_t missing_to(uint64_t wanted, uint64_t got) {
  return got < wanted ? wanted - got : 0;
}

// The first mark of each kind.
class OverlayfsMarks {
 public:
  void look_at(const Volume& volume, InodeNumber number) {
    const auto inode = read_inode(volume, number);
    if (!inode) {
      return;
    }
    const ext2::Inode& raw = inode->raw();
    if (device_.empty() && inode->type() == ext2::kModeCharDevice && raw.i_block[0] == 0U &&
        raw.i_block[1] == 0U) {
      device_ = fmt::format("inode {} is a character device 0/0", number);
    }
    const auto attributes = read_attributes(volume, *inode);
    for (size_t at = 0; attributes && attribute_.empty() && at < attributes->size(); ++at) {
      const std::string name = (*attributes)[at].full_name();
      if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.")) {
        attribute_ = fmt::format("inode {} has an attribute that begins with {}", number,
                                 name.substr(0, name.find("overlay.") + 8));
      }
    }
  }
  bool has_all() const { return !device_.empty() && !attribute_.empty(); }
  std::string text() const { return device_ + (has_all() ? ", " : "") + attribute_; }

 private:
  std::string device_;
  std::string attribute_;
};

}  // namespace

Result<bool> ForeignTree::is_foreign(const Image& image) {
  UNIONFS_ASSIGN(const Superblock superblock, Superblock::read(image, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(const auto mark, mark_of(image.name(), superblock.raw()));
  if (mark) {
    return false;
  }
  UNIONFS_ASSIGN(const bool is_ours, has_state_area(image, superblock.layout()));
  if (is_ours) {
    return corrupt("{}: has a state area, but its superblock has lost the mark that leads to it",
                   image.name());
  }
  return true;
}

Result<ForeignTree> ForeignTree::open(const Image& image) {
  UNIONFS_ASSIGN(Volume volume, Volume::open(image, SuperblockUse::kUpper));
  return ForeignTree(std::move(volume));
}

uint64_t ForeignTree::used_inode_count() const {
  const ext2::Superblock& raw = volume_.superblock().raw();
  return missing_to(raw.s_inodes_count,
                    uint64_t{raw.s_free_inodes_count} + volume_.layout().first_inode - 1);
}

uint64_t ForeignTree::used_block_count() const {
  const ext2::Superblock& raw = volume_.superblock().raw();
  return missing_to(raw.s_blocks_count,
                    raw.s_free_blocks_count + metadata_blocks(volume_) + raw.s_first_data_block);
}

bool ForeignTree::has_whiteout_feature() const {
  const ext2::Superblock& raw = volume_.superblock().raw();
  return raw.s_rev_level != ext2::kGoodOldRevision &&
         (raw.s_feature_incompat & ext2::kIncompatWhiteout) != 0;
}

// Owner, mode and attributes say nothing that mke2fs does not say by itself.
Result<bool> ForeignTree::is_as_made(const InodeRecord& directory, uint16_t mode) const {
  UNIONFS_ASSIGN(const std::vector<Attribute> attributes, read_attributes(volume_, directory));
  return directory.raw().i_mode == (ext2::kModeDirectory | mode) && directory.user_id() == 0 &&
         directory.group_id() == 0 && directory.raw().i_flags == 0U && attributes.empty();
}

Result<bool> ForeignTree::is_empty() const {
  UNIONFS_ASSIGN(const InodeRecord root, read_inode(volume_, kRootDirectory));
  UNIONFS_ASSIGN(const std::vector<ForeignName> names, read_names(root));
  UNIONFS_ASSIGN(const bool is_root_as_made, is_as_made(root, 0755));
  if (!is_root_as_made || names.size() > 1) {
    return false;
  }
  if (names.empty()) {
    return true;
  }
  if (names[0].kind != EntryKind::kReal || names[0].name != "lost+found") {
    return false;
  }
  UNIONFS_ASSIGN(const InodeRecord lost, read_inode(volume_, names[0].inode));
  UNIONFS_ASSIGN(const bool is_lost_as_made, is_as_made(lost, 0700));
  if (!is_lost_as_made) {
    return false;
  }
  UNIONFS_ASSIGN(const std::vector<ForeignName> found, read_names(lost));
  return found.empty();
}

Result<std::vector<ForeignName>> ForeignTree::read_names(const InodeRecord& directory) const {
  DirectoryRules rules = DirectoryRules::of(volume_);
  // Types 8 and 9 mean nothing else, so the feature bit adds nothing.
  rules.has_whiteouts = rules.has_file_types;
  std::vector<ForeignName> names;
  std::unordered_set<std::string> seen;
  const auto visit = [&](FileBlock, BlockNumber block, ConstByteSpan bytes) -> Result<EntryStep> {
    const auto keep = [&](const EntryView& entry) -> Result<EntryStep> {
      if (entry.kind == EntryKind::kFree || entry.name == "." || entry.name == "..") {
        return EntryStep::kContinue;
      }
      if (!seen.emplace(entry.name).second) {
        return corrupt("{}: inode {}: the name \"{}\" comes twice", name(), directory.number(),
                       entry.name);
      }
      names.push_back({std::string(entry.name), entry.kind, entry.inode});
      return EntryStep::kContinue;
    };
    UNIONFS_TRY(for_each_entry(bytes, rules, {name(), directory.number(), block}, keep));
    return EntryStep::kContinue;
  };
  UNIONFS_TRY(walk_directory_blocks(volume_, directory, visit));
  return names;
}

std::string find_overlayfs_marks(const ForeignTree& tree) {
  const Volume& volume = tree.volume();
  const Layout& layout = volume.layout();
  OverlayfsMarks marks;
  std::vector<std::byte> bitmap(layout.block_size_bytes);
  for (uint32_t number = 0; number < layout.group_count() && !marks.has_all(); ++number) {
    const Group& group = volume.group(GroupNumber(number));
    if (group.free_inodes_count == layout.inodes_per_group || !group.has_inode_bitmap ||
        !volume.read_block(group.inode_bitmap, bitmap)) {
      continue;
    }
    for (uint32_t bit = 0; bit < layout.inodes_per_group && !marks.has_all(); ++bit) {
      const InodeNumber inode(number * layout.inodes_per_group + bit + 1);
      const bool is_reserved = inode != kRootDirectory && inode.value() < layout.first_inode;
      if (test_bit(bitmap, bit) && !is_reserved) {
        marks.look_at(volume, inode);
      }
    }
  }
  return marks.text();
}

Result<uint64_t> foreign_merged_size(const Volume& lower, const ForeignTree& tree) {
  const Layout& own = tree.volume().layout();
  const Layout& below = lower.layout();
  const uint64_t block_size = below.block_size_bytes;
  const uint64_t inodes = tree.used_inode_count();
  // Every file may leave most of one block of data and of one of attributes
  // unused, and have its indirect blocks in smaller pieces.
  const uint64_t used_bytes = tree.used_block_count() * own.block_size_bytes;
  const uint64_t pad_bytes = block_size > own.block_size_bytes ? 2 * inodes * block_size : 0;
  const uint64_t free_bytes =
      uint64_t{tree.volume().superblock().raw().s_free_blocks_count} * own.block_size_bytes;
  const uint64_t needed_blocks =
      divide_round_up(used_bytes + used_bytes / 128 + pad_bytes + free_bytes, block_size);

  uint64_t size_bytes = below.size_bytes() + own.size_bytes();
  UNIONFS_ASSIGN(const bool is_empty, tree.is_empty());
  if (is_empty) {
    return size_bytes;
  }
  constexpr int kMaxTries = 32;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    UNIONFS_ASSIGN(const Geometry geometry, Geometry::grow(lower, size_bytes));
    uint64_t free_blocks = 0;
    uint64_t free_inodes = 0;
    for (const Group& group : geometry.groups()) {
      free_blocks += group.free_blocks_count;
      free_inodes += group.free_inodes_count;
    }
    const uint64_t blocks_missing = missing_to(needed_blocks, free_blocks);
    const uint64_t groups_missing =
        divide_round_up(missing_to(inodes, free_inodes), below.inodes_per_group);
    if (blocks_missing == 0 && groups_missing == 0) {
      return geometry.size_bytes();
    }
    const uint64_t more_blocks =
        std::max(blocks_missing, groups_missing * uint64_t{below.blocks_per_group});
    // A group's own metadata takes its share of what is added.
    size_bytes += (more_blocks + below.blocks_per_group / 4) * block_size;
  }
  return invalid("{}: no size is large enough for its {} inodes over {}", tree.name(), inodes,
                 lower.name());
}

}  // namespace unionfs
