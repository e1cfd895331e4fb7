// SPDX-License-Identifier: BSD-3-Clause
//
// Own directories: every entry is real, whiteout or fallthru as the format
// defines it, and every own inode is reached under all its names.
#include <algorithm>

#include "fsparse/htree.h"
#include "overlay/check/layer_check.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {

void LayerCheck::check_names() {
  const InodeNumber root(ext2::kRootInode);
  if (!own_inodes_.test(root)) {
    violation("{}: the root directory is not marked own", name());
    return;
  }
  places_[root] = {root, ""};
  directories_.push_back(root);
  for (size_t i = 0; i < directories_.size(); ++i) {
    take(check_directory(directories_[i]));
  }
  check_links();
}

Result<const std::map<std::string, InodeNumber>*> LayerCheck::lower_names(InodeNumber directory) {
  auto [found, is_new] = lower_names_.try_emplace(directory);
  const std::map<std::string, InodeNumber>* none = nullptr;
  UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(directory));
  if (!is_used) {
    return none;
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.lower, directory));
  if (!record.is_directory()) {
    return none;
  }
  if (is_new) {
    UNIONFS_ASSIGN(const auto entries, read_directory(from_.lower, record));
    for (const NamedEntry& entry : entries) {
      found->second[entry.name] = entry.inode;
    }
  }
  return &found->second;
}

// Whether those who go by path find the lower directory of the same number.
Result<bool> LayerCheck::keeps_place(InodeNumber directory) {
  UNIONFS_ASSIGN(const auto* below, lower_names(directory));
  if (below == nullptr || inode_whiteouts_.test(directory)) {
    return false;
  }
  const Place& place = places_.at(directory);
  if (directory.value() == ext2::kRootInode) {
    return true;
  }
  const auto parent = below->find("..");
  if (parent == below->end() || parent->second != place.parent) {
    return false;
  }
  UNIONFS_ASSIGN(const auto* siblings, lower_names(place.parent));
  if (siblings == nullptr) {
    return false;
  }
  const auto named = siblings->find(place.name);
  return named != siblings->end() && named->second == directory;
}

Result<void> LayerCheck::check_directory(InodeNumber directory) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, directory));
  UNIONFS_ASSIGN(const bool in_place, keeps_place(directory));
  UNIONFS_ASSIGN(const auto entries, read_directory(from_.upper, record));
  if (!record.is_opaque() && !in_place) {
    violation("{}: directory inode {} is not where the lower has it, but not marked opaque", name(),
              directory);
  }
  std::set<std::string> names;
  for (const NamedEntry& entry : entries) {
    if (!names.insert(entry.name).second) {
      violation("{}: directory inode {}: the name \"{}\" is there twice", name(), directory,
                entry.name);
    }
    UNIONFS_TRY(check_entry(directory, entry, in_place));
    if (record.has_index() && entry.name != "." && entry.name != "..") {
      UNIONFS_ASSIGN(const auto leaves, index_leaves(from_.upper, record, entry.name));
      if (std::find(leaves.begin(), leaves.end(), entry.file_block) == leaves.end()) {
        violation("{}: directory inode {}: the name \"{}\" is not in the leaf of its hash", name(),
                  directory, entry.name);
      }
    }
  }
  UNIONFS_ASSIGN(const auto* below, lower_names(directory));
  if (!record.is_opaque() && in_place) {
    for (const auto& [lower_name, inode] : *below) {
      if (!names.contains(lower_name)) {
        violation(
            "{}: directory inode {}: the lower's name \"{}\" is neither real, fallthru nor "
            "whiteout",
            name(), directory, lower_name);
      }
    }
  }
  for (const auto& [dot, wanted] :
       {std::pair{".", directory}, std::pair{"..", places_.at(directory).parent}}) {
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [dot = dot](const auto& entry) { return entry.name == dot; });
    if (found == entries.end() || found->kind != EntryKind::kReal || found->inode != wanted) {
      violation("{}: directory inode {}: \"{}\" is not inode {}", name(), directory, dot, wanted);
    }
  }
  return {};
}

Result<void> LayerCheck::check_entry(InodeNumber directory, const NamedEntry& entry,
                                     bool in_place) {
  if (entry.kind == EntryKind::kReal) {
    return check_real(directory, entry);
  }
  UNIONFS_ASSIGN(const auto* below, lower_names(directory));
  const bool is_there = below != nullptr && below->contains(entry.name);
  if (entry.kind == EntryKind::kWhiteout) {
    if (!is_there || !in_place) {
      violation("{}: directory inode {}: whiteout \"{}\" of a name that the lower does not have",
                name(), directory, entry.name);
    }
    return {};
  }
  if (!is_there) {
    violation("{}: directory inode {}: fallthru \"{}\" to a name that the lower does not have",
              name(), directory, entry.name);
    return {};
  }
  const InodeNumber target = below->at(entry.name);
  if (own_inodes_.test(target) || inode_whiteouts_.test(target)) {
    violation("{}: directory inode {}: fallthru \"{}\" to inode {}, which is {}", name(), directory,
              entry.name, target, own_inodes_.test(target) ? "own" : "whited out");
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.lower, target));
  counts_[directory].merged_links += record.is_directory() ? 1 : 0;
  return {};
}

Result<void> LayerCheck::check_real(InodeNumber directory, const NamedEntry& entry) {
  if (entry.inode.value() < layout_.first_inode && entry.inode.value() != ext2::kRootInode) {
    violation("{}: directory inode {}: \"{}\" names the reserved inode {}", name(), directory,
              entry.name, entry.inode);
    return {};
  }
  if (!own_inodes_.test(entry.inode)) {
    violation("{}: directory inode {}: \"{}\" names inode {}, which is not own", name(), directory,
              entry.name, entry.inode);
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, entry.inode));
  if (entry.file_type != record.file_type()) {
    violation("{}: directory inode {}: \"{}\" has type {}, but inode {} is of type {}", name(),
              directory, entry.name, entry.file_type, entry.inode, record.file_type());
  }
  if (entry.name == "." || entry.name == "..") {
    return {};
  }
  ++names_[entry.inode];
  if (record.is_directory()) {
    ++counts_[directory].links;
    ++counts_[directory].merged_links;
    if (!places_.emplace(entry.inode, Place{directory, entry.name}).second) {
      violation("{}: directory inode {} is named twice", name(), entry.inode);
      return {};
    }
    directories_.push_back(entry.inode);
  }
  return {};
}

void LayerCheck::check_links() {
  for (auto& [inode, counts] : counts_) {
    const auto named = names_.find(inode);
    const uint32_t names = named == names_.end() ? 0 : named->second;
    if (inode.value() < layout_.first_inode && inode.value() != ext2::kRootInode) {
      continue;
    }
    if (names == 0 && inode.value() != ext2::kRootInode) {
      violation("{}: inode {} is own, but not reached from the root", name(), inode);
      continue;
    }
    constexpr uint32_t kDots = 2;
    counts.links = counts.is_directory ? counts.links + kDots : names;
    counts.merged_links = counts.is_directory ? counts.merged_links + kDots : names;
    const auto record = read_inode(from_.upper, inode);
    if (record && record->raw().i_links_count != counts.links) {
      mendable("{}: inode {}: i_links_count is {}, but it should be {}", name(), inode,
               record->raw().i_links_count, counts.links);
    }
  }
}

}  // namespace unionfs
