// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/diff_tree.h"

#include <algorithm>
#include <deque>

#include "fsparse/block_map.h"

namespace unionfs {

Result<std::vector<Change>> DiffTree::compare() {
  UNIONFS_TRY(walk_layer(
      from_.upper, {[this](const LayerDirectory& directory) { return visit_directory(directory); },
                    [this](const LayerDirectory& directory, const NamedEntry& entry) {
                      return visit_name(directory, entry);
                    }}));
  UNIONFS_TRY(settle_names());
  std::stable_sort(changes_.begin(), changes_.end(),
                   [](const Change& a, const Change& b) { return a.path < b.path; });
  return std::move(changes_);
}

Result<bool> DiffTree::is_same(InodeNumber inode) {
  UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(inode));
  if (!is_used || inode_whiteouts_.test(inode)) {
    return false;
  }
  // A number that was freed and given out again within one session.
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, inode));
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, inode));
  return below.type() == now.type() &&
         below.raw().i_generation.value() == now.raw().i_generation.value();
}

// Names that the lower directory has and the merged one has not.
Result<void> DiffTree::visit_directory(const LayerDirectory& directory) {
  const InodeNumber number = directory.record.number();
  if (number.value() == ext2::kRootInode) {
    UNIONFS_TRY(visit_name(directory, {"", number, ext2::kFileTypeDirectory, EntryKind::kReal,
                                       FileBlock(0), BlockNumber(0), 0}));
  }
  UNIONFS_ASSIGN(const bool same, is_same(number));
  if (!same) {
    return {};
  }
  UNIONFS_ASSIGN(const auto* below, lower_names(number));
  std::map<std::string_view, const NamedEntry*> now;
  for (const NamedEntry& entry : directory.entries) {
    now[entry.name] = &entry;
  }
  for (const auto& [name, inode] : *below) {
    const auto found = now.find(name);
    if (found != now.end()) {
      const NamedEntry& entry = *found->second;
      if (entry.kind == EntryKind::kFallthru) {
        continue;
      }
      if (entry.kind == EntryKind::kReal && entry.inode == inode) {
        UNIONFS_ASSIGN(const bool same_file, is_same(inode));
        if (same_file) {
          continue;
        }
      }
    }
    names_changed_[number] = true;
    UNIONFS_ASSIGN(const std::string parent, lower_path(number));
    UNIONFS_TRY(lower_name_gone(parent + "/" + name, inode));
  }
  return {};
}

// A name that is gone, and, if it was a directory that is gone too, all below.
Result<void> DiffTree::lower_name_gone(std::string path, InodeNumber inode) {
  std::deque<Name> queue = {{std::move(path), inode, false}};
  while (!queue.empty()) {
    Name name = std::move(queue.front());
    queue.pop_front();
    UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, name.inode));
    UNIONFS_ASSIGN(const bool same, is_same(name.inode));
    if (below.is_directory() && !same) {
      UNIONFS_ASSIGN(const auto* names, lower_names(name.inode));
      for (const auto& [child, child_inode] : *names) {
        queue.push_back({name.path + "/" + child, child_inode, false});
      }
    }
    gone_.push_back(std::move(name));
  }
  return {};
}

Result<void> DiffTree::visit_name(const LayerDirectory& directory, const NamedEntry& entry) {
  if (entry.kind != EntryKind::kReal) {
    return {};
  }
  const bool is_root = entry.name.empty();
  const InodeNumber parent = directory.record.number();
  const std::string path = is_root ? "/" : directory.path + "/" + entry.name;
  bool was_there = is_root;
  UNIONFS_ASSIGN(const bool same_parent, is_same(parent));
  UNIONFS_ASSIGN(const bool same, is_same(entry.inode));
  if (!is_root && same_parent) {
    UNIONFS_ASSIGN(const auto* names, lower_names(parent));
    const auto found = names->find(entry.name);
    was_there = found != names->end() && found->second == entry.inode;
  }
  // Inodes are compared later, when it is known which directories' names changed.
  const bool is_unchanged = was_there && same;
  if (!is_unchanged) {
    names_changed_[parent] = true;
  }
  come_.push_back({path, entry.inode, is_unchanged});
  return {};
}

// Pairs names that are gone with names that have come for the same file.
Result<void> DiffTree::settle_names() {
  std::map<InodeNumber, std::deque<Name>> gone_of;
  for (Name& name : gone_) {
    UNIONFS_ASSIGN(const bool same, is_same(name.inode));
    if (same) {
      gone_of[name.inode].push_back(std::move(name));
    } else {
      UNIONFS_TRY(add_deleted(name));
    }
  }
  for (const Name& name : come_) {
    if (name.is_unchanged) {
      UNIONFS_ASSIGN(const InodeDifference* found, difference(name.inode));
      if (found->is_content || !found->metadata.empty()) {
        UNIONFS_TRY(add_renamed({}, name));
      }
      continue;
    }
    auto& old_names = gone_of[name.inode];
    if (old_names.empty()) {
      UNIONFS_TRY(add_added(name));
    } else {
      UNIONFS_TRY(add_renamed(old_names.front(), name));
      old_names.pop_front();
    }
  }
  for (const auto& [inode, names] : gone_of) {
    for (const Name& name : names) {
      UNIONFS_TRY(add_deleted(name));
      changes_.back().is_link = true;
    }
  }
  return {};
}

Result<void> DiffTree::add_deleted(const Name& name) {
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, name.inode));
  Change change;
  change.kind = ChangeKind::kDeleted;
  change.path = name.path;
  change.inode = name.inode;
  change.file_type = below.file_type();
  change.old_size_bytes = below.size_bytes();
  changes_.push_back(std::move(change));
  return {};
}

Result<void> DiffTree::add_added(const Name& name) {
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, name.inode));
  Change change;
  change.kind = ChangeKind::kAdded;
  change.path = name.path;
  change.inode = name.inode;
  change.file_type = now.file_type();
  change.new_size_bytes = now.size_bytes();
  UNIONFS_ASSIGN(change.is_link, is_same(name.inode));
  changes_.push_back(std::move(change));
  return {};
}

// Also for a name that stayed: then `old_name` has no path.
Result<void> DiffTree::add_renamed(const Name& old_name, const Name& new_name) {
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, new_name.inode));
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, new_name.inode));
  UNIONFS_ASSIGN(const InodeDifference* found, difference(new_name.inode));
  Change change;
  change.kind = !old_name.path.empty() ? ChangeKind::kRenamed
                : found->is_content    ? ChangeKind::kModified
                                       : ChangeKind::kMetadata;
  change.path = new_name.path;
  change.from = old_name.path;
  change.inode = new_name.inode;
  change.file_type = now.file_type();
  change.old_size_bytes = below.size_bytes();
  change.new_size_bytes = now.size_bytes();
  change.is_content_changed = found->is_content;
  change.changed_bytes = found->changed_bytes;
  change.metadata = found->metadata;
  changes_.push_back(std::move(change));
  return {};
}

// ---- the lower's names -------------------------------------------------------

Result<const std::map<std::string, InodeNumber>*> DiffTree::lower_names(InodeNumber directory) {
  auto [names, is_new] = lower_names_.try_emplace(directory);
  if (is_new) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.lower, directory));
    UNIONFS_ASSIGN(const auto entries, sorted_entries(from_.lower, record));
    for (const NamedEntry& entry : entries) {
      names->second[entry.name] = entry.inode;
    }
  }
  return &names->second;
}

Result<std::string> DiffTree::lower_path(InodeNumber directory) {
  std::vector<InodeNumber> way;  // from below, those whose path is not known
  std::string path;
  InodeNumber at = directory;
  while (at.value() != ext2::kRootInode) {
    if (const auto known = lower_paths_.find(at); known != lower_paths_.end()) {
      path = known->second;
      break;
    }
    if (way.size() > from_.lower.layout().inode_count()) {
      return corrupt("{}: directory inode {}: its parents go round in a circle", from_.lower.name(),
                     directory);
    }
    way.push_back(at);
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.lower, at));
    UNIONFS_ASSIGN(const auto parent, find_name(from_.lower, record, ".."));
    if (!parent) {
      return corrupt("{}: directory inode {} has no parent", from_.lower.name(), at);
    }
    at = parent->inode;
  }
  for (; !way.empty(); way.pop_back()) {
    const InodeNumber child = way.back();
    UNIONFS_ASSIGN(const auto* names, lower_names(at));
    const auto found = std::find_if(names->begin(), names->end(),
                                    [&](const auto& name) { return name.second == child; });
    if (found == names->end()) {
      return corrupt("{}: directory inode {} is not named by its parent, inode {}",
                     from_.lower.name(), child, at);
    }
    path += "/" + found->first;
    lower_paths_[child] = path;
    at = child;
  }
  return path;
}

}  // namespace unionfs
