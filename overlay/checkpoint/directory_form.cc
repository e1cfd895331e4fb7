// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/directory_form.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

#include "fsparse/directory.h"
#include "fsparse/htree.h"
#include "overlay/host/cancellation.h"

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

// The blocks of one directory on their way to the layer's form.
class DirectoryFormer {
 public:
  DirectoryFormer(const LayerSources& from, const Ownership& own, const InodeRecord& directory)
      : from_(from), own_(own), directory_(directory) {}

  // Real names stay real, or become fallthrus.
  Result<void> rewrite_names() {
    return walk_directory_blocks(
        from_.merged, directory_,
        [this](FileBlock, BlockNumber block, ConstByteSpan bytes) -> Result<EntryStep> {
          UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
          std::vector<std::byte>& copy = blocks_[block];
          copy.assign(bytes.begin(), bytes.end());
          UNIONFS_TRY(for_each_entry(copy, DirectoryRules::of(from_.merged), place(block),
                                     [&](const EntryView& entry) -> Result<EntryStep> {
                                       UNIONFS_TRY(rewrite_name(copy, entry));
                                       return EntryStep::kContinue;
                                     }));
          return EntryStep::kContinue;
        });
  }

  // Whites out the lower's names that do not show; returns whether they are known and
  // have room.
  Result<bool> add_whiteouts() {
    UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from_.lower, directory_.number()));
    UNIONFS_ASSIGN(const auto below, from_.entries_below(lower));
    if (!below) {
      return false;  // nobody can tell which names are gone
    }
    std::vector<std::string> gone;
    for (const NamedEntry& entry : *below) {
      if (entry.name != "." && entry.name != ".." && !names_.contains(entry.name)) {
        gone.push_back(entry.name);
      }
    }
    std::sort(gone.begin(), gone.end());
    Blocks with_whiteouts = blocks_;
    UNIONFS_ASSIGN(const bool has_room, place_whiteouts(with_whiteouts, gone));
    if (has_room) {
      blocks_ = std::move(with_whiteouts);
    }
    return has_room;
  }

  const Blocks& blocks() const { return blocks_; }
  // Each directory that it names has a link to it; so do its parent and itself.
  uint16_t links_count() const { return static_cast<uint16_t>(2 + own_directories_); }

 private:
  DirectoryPlace place(BlockNumber block) const {
    return {kMergedImage, directory_.number(), block};
  }

  Result<void> rewrite_name(ByteSpan block, const EntryView& entry) {
    if (entry.kind != EntryKind::kReal) {
      rewrite_entry(block, entry.offset, InodeNumber(0), ext2::kFileTypeUnknown);
      return {};
    }
    if (entry.name == "." || entry.name == "..") {
      rewrite_entry(block, entry.offset, entry.inode, ext2::kFileTypeDirectory);
      return {};
    }
    names_.emplace(entry.name);
    if (!own_.sets.own_inodes.test(entry.inode)) {
      rewrite_entry(block, entry.offset, InodeNumber(0), ext2::kFileTypeFallthru);
      return {};
    }
    uint8_t type = entry.file_type;
    if (!from_.merged.layout().has_file_types) {
      UNIONFS_ASSIGN(const InodeRecord target, read_inode(from_.merged, entry.inode));
      type = target.file_type();
    }
    own_directories_ += type == ext2::kFileTypeDirectory ? 1 : 0;
    rewrite_entry(block, entry.offset, entry.inode, type);
    return {};
  }

  // False, with some of the names in place, when one has no room.
  Result<bool> place_whiteouts(Blocks& blocks, const std::vector<std::string>& names) const {
    auto next = blocks.begin();
    for (const std::string& name : names) {
      UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
      UNIONFS_ASSIGN(const bool is_placed, directory_.has_index()
                                               ? place_by_hash(blocks, name)
                                               : place_anywhere(blocks, next, name));
      if (!is_placed) {
        return false;
      }
    }
    return true;
  }

  // Where a reader that goes by hash would look for the name.
  Result<bool> place_by_hash(Blocks& blocks, const std::string& name) const {
    const auto leaves = index_leaves(from_.merged, directory_, name);
    if (!leaves) {
      return false;
    }
    for (const FileBlock leaf : *leaves) {
      UNIONFS_ASSIGN(const auto block, map_block(from_.merged, directory_, leaf));
      if (!block || !blocks.contains(*block)) {
        continue;
      }
      UNIONFS_ASSIGN(const bool is_placed, place_in(*block, blocks.at(*block), name));
      if (is_placed) {
        return true;
      }
    }
    return false;
  }

  // Blocks that had no room for one name are not tried for the next.
  Result<bool> place_anywhere(Blocks& blocks, Blocks::iterator& next,
                              const std::string& name) const {
    for (; next != blocks.end(); ++next) {
      UNIONFS_ASSIGN(const bool is_placed, place_in(next->first, next->second, name));
      if (is_placed) {
        return true;
      }
    }
    return false;
  }

  Result<bool> place_in(BlockNumber block, ByteSpan bytes, const std::string& name) const {
    DirectoryRules rules = DirectoryRules::of(from_.merged);
    rules.has_file_types = true;
    rules.has_whiteouts = true;
    return place_in_block(bytes, rules, place(block), name);
  }

  const LayerSources& from_;
  const Ownership& own_;
  const InodeRecord& directory_;
  Blocks blocks_;
  std::set<std::string> names_;  // real ones and fallthrus
  uint32_t own_directories_ = 0;
};

// Whether those who go by path find the lower directory of the same number
// where this one is: same name in the same parent, in the lower and now.
Result<bool> keeps_place(const LayerSources& from, const Ownership& own,
                         const InodeRecord& directory) {
  const InodeNumber inode = directory.number();
  UNIONFS_ASSIGN(const bool is_below, from.used_below.is_used(inode));
  if (!is_below || own.sets.inode_whiteouts.test(inode)) {
    return false;
  }
  UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from.lower, inode));
  if (!lower.is_directory()) {
    return false;
  }
  if (inode.value() == ext2::kRootInode) {
    return true;
  }
  UNIONFS_ASSIGN(const auto parent, find_name(from.merged, directory, ".."));
  const auto lower_parent = find_name(from.lower, lower, "..");
  if (!lower_parent && lower_parent.error().kind != ErrorKind::kCorrupt) {
    return Failure(lower_parent.error());
  }
  if (!parent || !lower_parent || !*lower_parent || parent->inode != (*lower_parent)->inode) {
    return false;
  }
  return own.names.same_as_below.contains({parent->inode, inode});
}

}  // namespace

Result<DirectoryForm> form_directory(const LayerSources& from, const Ownership& own,
                                     const InodeRecord& directory, StagedFile& stage) {
  DirectoryFormer former(from, own, directory);
  UNIONFS_TRY(former.rewrite_names());
  UNIONFS_ASSIGN(bool shows_lower, keeps_place(from, own, directory));
  if (shows_lower) {
    UNIONFS_ASSIGN(shows_lower, former.add_whiteouts());
  }
  for (const auto& [block, bytes] : former.blocks()) {
    UNIONFS_TRY(stage.write(from.offset_of(block), bytes));
  }
  return DirectoryForm{!shows_lower, former.links_count()};
}

}  // namespace unionfs
