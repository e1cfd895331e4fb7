// SPDX-License-Identifier: BSD-3-Clause
//
// An own directory in the layer's form: real names of own inodes, fallthrus for
// the lower's names that still show, whiteouts for those that do not.
#include <algorithm>
#include <cstring>

#include "fsparse/htree.h"
#include "overlay/checkpoint/layer_builder.h"

namespace unionfs {
namespace {

using Blocks = std::map<BlockNumber, std::vector<std::byte>>;

// Puts a whiteout into the free space of a block, if there is room.
Result<bool> place_in_block(ByteSpan block, const DirectoryRules& rules,
                            const DirectoryPlace& place, const std::string& name) {
  const uint32_t size = ext2::entry_size_bytes(static_cast<uint32_t>(name.size()));
  bool placed = false;
  UNIONFS_TRY(for_each_entry(block, rules, place, [&](const EntryView& view) -> Result<EntryStep> {
    if (view.spare_bytes() < size) {
      return EntryStep::kContinue;
    }
    const uint32_t offset = view.offset + (view.size_bytes - view.spare_bytes());
    const uint32_t end = view.offset + view.size_bytes;
    if (offset != view.offset) {
      ext2::DirectoryEntry before;
      std::memcpy(&before, block.data() + view.offset, sizeof(before));
      before.rec_len = static_cast<uint16_t>(offset - view.offset);
      std::memcpy(block.data() + view.offset, &before, sizeof(before));
    }
    ext2::DirectoryEntry entry = {};
    entry.rec_len = static_cast<uint16_t>(end - offset);
    entry.name_len = static_cast<uint8_t>(name.size());
    entry.file_type = ext2::kFileTypeWhiteout;
    std::memset(block.data() + offset, 0, end - offset);
    std::memcpy(block.data() + offset, &entry, sizeof(entry));
    std::memcpy(block.data() + offset + sizeof(entry), name.data(), name.size());
    placed = true;
    return EntryStep::kStop;
  }));
  return placed;
}

}  // namespace

Result<void> LayerBuilder::form_directory(InodeNumber directory, Form& form) {
  const InodeRecord& record = form.record;
  const bool has_types = from_.merged.layout().has_file_types;
  Blocks blocks;
  std::set<std::string> names;
  uint32_t own_directories = 0;
  const DirectoryRules rules = DirectoryRules::of(from_.merged);
  UNIONFS_TRY(walk_directory_blocks(
      from_.merged, record,
      [&](FileBlock, BlockNumber block, ConstByteSpan bytes) -> Result<EntryStep> {
        auto& copy = blocks[block];
        copy.assign(bytes.begin(), bytes.end());
        const DirectoryPlace place{image(), directory, block};
        UNIONFS_TRY(
            for_each_entry(copy, rules, place, [&](const EntryView& view) -> Result<EntryStep> {
              if (view.kind != EntryKind::kReal) {
                rewrite_entry(copy, view.offset, InodeNumber(0), ext2::kFileTypeUnknown);
                return EntryStep::kContinue;
              }
              const bool is_dot = view.name == "." || view.name == "..";
              if (!is_dot) {
                names.emplace(view.name);
              }
              if (!is_dot && !own_inodes_.test(view.inode)) {
                rewrite_entry(copy, view.offset, InodeNumber(0), ext2::kFileTypeFallthru);
                return EntryStep::kContinue;
              }
              uint8_t type = view.file_type;
              if (is_dot) {
                type = ext2::kFileTypeDirectory;
              } else if (!has_types) {
                UNIONFS_ASSIGN(const InodeRecord target, read_inode(from_.merged, view.inode));
                type = target.file_type();
              }
              own_directories += !is_dot && type == ext2::kFileTypeDirectory ? 1 : 0;
              rewrite_entry(copy, view.offset, view.inode, type);
              return EntryStep::kContinue;
            }));
        return EntryStep::kContinue;
      }));

  UNIONFS_ASSIGN(bool is_opaque, keeps_place(directory));
  is_opaque = !is_opaque;
  if (!is_opaque) {
    UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from_.lower, directory));
    UNIONFS_ASSIGN(const auto below, read_directory(from_.lower, lower));
    std::vector<std::string> gone;
    for (const NamedEntry& entry : below) {
      if (entry.name != "." && entry.name != ".." && !names.contains(entry.name)) {
        gone.push_back(entry.name);
      }
    }
    std::sort(gone.begin(), gone.end());
    Blocks with_whiteouts = blocks;
    UNIONFS_ASSIGN(const bool placed, place_whiteouts(directory, with_whiteouts, gone));
    if (placed) {
      blocks = std::move(with_whiteouts);
    }
    is_opaque = !placed;
  }
  for (const auto& [block, bytes] : blocks) {
    UNIONFS_TRY(stage_block(block, bytes));
  }
  ext2::Inode& raw = form.record.raw();
  raw.i_flags = is_opaque ? raw.i_flags | ext2::kFlagOpaque : raw.i_flags & ~ext2::kFlagOpaque;
  raw.i_links_count = static_cast<uint16_t>(2 + own_directories);
  return {};
}

// Whether those who go by path find the lower directory of the same number
// where this one is: same name in the same parent, in the lower and now.
Result<bool> LayerBuilder::keeps_place(InodeNumber directory) {
  UNIONFS_ASSIGN(const bool is_below, used_below_.is_used(directory));
  if (!is_below || inode_whiteouts_.test(directory)) {
    return false;
  }
  UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from_.lower, directory));
  if (!lower.is_directory()) {
    return false;
  }
  if (directory.value() == ext2::kRootInode) {
    return true;
  }
  const InodeRecord& record = forms_.at(directory).record;
  UNIONFS_ASSIGN(const auto parent, find_name(from_.merged, record, ".."));
  UNIONFS_ASSIGN(const auto lower_parent, find_name(from_.lower, lower, ".."));
  if (!parent || !lower_parent || parent->inode != lower_parent->inode) {
    return false;
  }
  return same_as_below_.contains({parent->inode, directory});
}

Result<bool> LayerBuilder::place_whiteouts(InodeNumber directory, Blocks& blocks,
                                           const std::vector<std::string>& names) {
  const InodeRecord& record = forms_.at(directory).record;
  DirectoryRules rules = DirectoryRules::of(from_.merged);
  rules.has_file_types = true;
  rules.has_whiteouts = true;
  auto next = blocks.begin();
  for (const std::string& name : names) {
    bool placed = false;
    if (record.has_index()) {
      // Where a reader that goes by hash would look for it.
      const auto leaves = index_leaves(from_.merged, record, name);
      if (!leaves) {
        return false;
      }
      for (const FileBlock leaf : *leaves) {
        UNIONFS_ASSIGN(const auto block, map_block(from_.merged, record, leaf));
        if (!block || !blocks.contains(*block)) {
          continue;
        }
        const DirectoryPlace place{image(), directory, *block};
        UNIONFS_ASSIGN(placed, place_in_block(blocks.at(*block), rules, place, name));
        if (placed) {
          break;
        }
      }
    } else {
      // Blocks that had no room for one name are not tried for the next.
      for (; next != blocks.end() && !placed;) {
        const DirectoryPlace place{image(), directory, next->first};
        UNIONFS_ASSIGN(placed, place_in_block(next->second, rules, place, name));
        if (!placed) {
          ++next;
        }
      }
    }
    if (!placed) {
      return false;
    }
  }
  return true;
}

}  // namespace unionfs
