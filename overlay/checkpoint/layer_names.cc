// SPDX-License-Identifier: BSD-3-Clause
//
// Every own inode is reachable from the root by real names, under all its
// names.  So the directories that name it become own, and theirs, up to the
// root; and a name that cannot fall through makes its inode own.
#include <algorithm>

#include "overlay/checkpoint/layer_builder.h"
#include "overlay/checkpoint/proof.h"

namespace unionfs {

// Repeats until nothing more becomes own.
Result<void> LayerBuilder::settle_names() {
  while (true) {
    while (!queue_.empty()) {
      const InodeNumber inode = queue_.front();
      queue_.pop_front();
      UNIONFS_TRY(own_inode(inode));
    }
    if (!unscanned_.empty()) {
      const InodeNumber directory = unscanned_.front();
      unscanned_.pop_front();
      UNIONFS_TRY(scan_directory(directory));
      continue;
    }
    UNIONFS_ASSIGN(const auto wanted, nameless());
    if (wanted.empty()) {
      return {};
    }
    UNIONFS_TRY(search_names());
  }
}

// Looks at the names of a directory that is going to be formed.
Result<void> LayerBuilder::scan_directory(InodeNumber directory) {
  const InodeRecord& record = forms_.at(directory).record;
  const auto become_own = [this](InodeNumber inode) {
    if (queued_.insert(inode).second) {
      queue_.push_back(inode);
    }
  };
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(from_.merged, record));
  UNIONFS_ASSIGN(const auto below, names_below(directory));
  for (const NamedEntry& entry : entries) {
    if (entry.name == ".") {
      continue;
    }
    if (entry.name == "..") {
      // The parent names this directory, and so is formed too.
      become_own(entry.inode);
      continue;
    }
    ++names_found_[entry.inode];
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(entry.inode));
    if (!is_used) {
      return corrupt("{}: directory inode {}: \"{}\" names inode {}, which is free", image(),
                     directory, entry.name, entry.inode);
    }
    const auto found = below.find(entry.name);
    const bool falls =
        found != below.end() && found->second == entry.inode && !inode_whiteouts_.test(entry.inode);
    if (falls && (entry.file_type == ext2::kFileTypeDirectory ||
                  entry.file_type == ext2::kFileTypeUnknown)) {
      same_as_below_.insert({directory, entry.inode});
    }
    if (!falls && !own_inodes_.test(entry.inode)) {
      become_own(entry.inode);
    }
  }
  return {};
}

// The names that may fall through: those in the lower directory of the same number.
Result<std::unordered_map<std::string, InodeNumber>> LayerBuilder::names_below(
    InodeNumber directory) {
  std::unordered_map<std::string, InodeNumber> names;
  UNIONFS_ASSIGN(const bool is_below, used_below_.is_used(directory));
  if (!is_below) {
    return names;
  }
  UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from_.lower, directory));
  if (!lower.is_directory()) {
    return names;
  }
  UNIONFS_ASSIGN(std::vector<NamedEntry> entries, read_directory(from_.lower, lower));
  for (NamedEntry& entry : entries) {
    names.emplace(std::move(entry.name), entry.inode);
  }
  return names;
}

// Own inodes that were not before and lack names among those found.  (Those
// that were own before had all their names, and a directory that gained or lost
// one has changed.)
Result<std::set<InodeNumber>> LayerBuilder::nameless() const {
  std::set<InodeNumber> wanted;
  for (const auto& [inode, form] : forms_) {
    if (was_own(inode) || inode.value() < merged_layout_.first_inode) {
      continue;
    }
    const uint32_t links = form.record.is_directory() ? 1 : form.record.raw().i_links_count.value();
    const auto found = names_found_.find(inode);
    const uint32_t names = found == names_found_.end() ? 0 : found->second;
    if (links == 0) {
      return corrupt("{}: inode {} is used, but has no links", image(), inode);
    }
    if (names > links) {
      return corrupt("{}: inode {} has {} links, but {} names", image(), inode, links, names);
    }
    if (names < links) {
      wanted.insert(inode);
    }
  }
  return wanted;
}

// Every directory that is formed leads up to the root, and not round in a circle.
// Its parent is formed, too.
Result<void> LayerBuilder::check_reachable() const {
  std::set<InodeNumber> good = {InodeNumber(ext2::kRootInode)};
  for (const InodeNumber start : directories_) {
    std::set<InodeNumber> way;
    InodeNumber directory = start;
    while (!good.contains(directory)) {
      const auto form = forms_.find(directory);
      if (form == forms_.end() || !form->second.record.is_directory() ||
          !way.insert(directory).second) {
        return corrupt(
            "{}: directory inode {} is not below the root: following \"..\" leads to "
            "inode {}",
            image(), start, directory);
      }
      UNIONFS_ASSIGN(const auto parent, find_name(from_.merged, form->second.record, ".."));
      directory = parent ? parent->inode : InodeNumber(0);
    }
    good.insert(way.begin(), way.end());
  }
  return {};
}

// Finds directories that name a nameless inode and have them formed.  A file
// mostly lies in the group of its directory, so those groups come first; going
// through all of them is the fallback.
Result<void> LayerBuilder::search_names() {
  UNIONFS_ASSIGN(const std::set<InodeNumber> wanted, nameless());
  for (const InodeNumber inode : wanted) {
    // A directory says itself who names it.
    const Form& form = forms_.at(inode);
    if (form.record.is_directory()) {
      UNIONFS_ASSIGN(const auto parent, find_name(from_.merged, form.record, ".."));
      return corrupt("{}: directory inode {} is not named by its parent, inode {}", image(), inode,
                     parent ? parent->inode : InodeNumber(0));
    }
  }
  std::set<GroupNumber> near;
  for (const InodeNumber inode : wanted) {
    near.insert(merged_layout_.group_of(inode));
  }
  bool found = false;
  for (const GroupNumber group : near) {
    UNIONFS_ASSIGN(const bool in_group, search_group(group, wanted));
    found = found || in_group;
  }
  for (uint32_t number = 0; number < merged_layout_.group_count() && !found; ++number) {
    if (!near.contains(GroupNumber(number))) {
      UNIONFS_ASSIGN(found, search_group(GroupNumber(number), wanted));
    }
  }
  if (!found) {
    return corrupt("{}: inode {} has {} links, but only {} names", image(), *wanted.begin(),
                   forms_.at(*wanted.begin()).record.raw().i_links_count,
                   names_found_[*wanted.begin()]);
  }
  return {};
}

Result<bool> LayerBuilder::search_group(GroupNumber group, const std::set<InodeNumber>& wanted) {
  UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
  if (from_.merged.group(group).used_dirs_count == 0) {
    return false;
  }
  bool found = false;
  for (uint32_t i = 0; i < merged_layout_.inodes_per_group; ++i) {
    const InodeNumber inode(group.value() * merged_layout_.inodes_per_group + i + 1);
    UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
    if (!is_used || directories_.contains(inode) ||
        (inode.value() < merged_layout_.first_inode && inode.value() != ext2::kRootInode)) {
      continue;
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.merged, inode));
    if (!record.is_directory()) {
      continue;
    }
    ++figures_.directories_searched;
    UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(from_.merged, record));
    const bool names_one =
        std::any_of(entries.begin(), entries.end(), [&](const NamedEntry& entry) {
          return entry.name != "." && entry.name != ".." && wanted.contains(entry.inode);
        });
    if (names_one && queued_.insert(inode).second) {
      queue_.push_back(inode);
      found = true;
    }
  }
  return found;
}

}  // namespace unionfs
