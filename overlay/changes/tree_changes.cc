// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/tree_changes.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string_view>

#include "overlay/changes/inode_changes.h"
#include "overlay/changes/lower_names.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {
namespace {

class TreeChanges {
 public:
  explicit TreeChanges(const ChangeSources& sources)
      : from_(sources),
        used_below_(sources.lower),
        inode_whiteouts_(sources.merged.layout(), sources.layer.inode_whiteouts()),
        lower_names_(sources.lower),
        inodes_(sources) {}

  Result<std::vector<Change>> run();

 private:
  struct Name {
    std::string path;
    InodeNumber inode;
    bool is_unchanged = false;  // the lower has the name for the same file
  };

  Result<bool> is_same(InodeNumber inode);
  Result<void> visit_directory(const LayerDirectory& directory);
  Result<void> visit_name(const LayerDirectory& directory, const NamedEntry& entry);
  Result<bool> is_still_there(const NamedEntry* entry, InodeNumber below);
  Result<void> lower_name_gone(std::string path, InodeNumber inode);
  Result<void> settle_names();
  Result<void> settle_name(const Name& name, std::deque<Name>& old_names);
  Result<void> add_deleted(const Name& name, bool is_link);
  Result<void> add_added(const Name& name);
  Result<void> add_renamed(const Name& old_name, const Name& new_name);
  Result<const InodeDifference*> difference(InodeNumber inode) {
    return inodes_.difference(inode, names_changed_.contains(inode));
  }

  const ChangeSources from_;
  UsedNumbers used_below_;
  const InodeSet inode_whiteouts_;
  LowerNames lower_names_;
  InodeChanges inodes_;
  std::vector<Change> changes_;
  std::vector<Name> gone_;               // lower names, in the order in which they were met
  std::vector<Name> come_;               // real names of the layer
  std::set<InodeNumber> names_changed_;  // own directories whose names changed
};

Result<std::vector<Change>> TreeChanges::run() {
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

// Whether the inode is still the file that it is in the lower.
Result<bool> TreeChanges::is_same(InodeNumber inode) {
  UNIONFS_ASSIGN(const bool is_used, used_below_.is_used(inode));
  if (!is_used || inode_whiteouts_.test(inode)) {
    return false;
  }
  // A number may have been freed and given out again within one session.
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, inode));
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, inode));
  return below.type() == now.type() &&
         below.raw().i_generation.value() == now.raw().i_generation.value();
}

// Names that the lower directory has and the merged one has not.
Result<void> TreeChanges::visit_directory(const LayerDirectory& directory) {
  const InodeNumber number = directory.record.number();
  if (number.value() == ext2::kRootInode) {
    UNIONFS_TRY(visit_name(directory, {"", number, ext2::kFileTypeDirectory, EntryKind::kReal,
                                       FileBlock(0), BlockNumber(0), 0}));
  }
  UNIONFS_ASSIGN(const bool same, is_same(number));
  if (!same) {
    return {};
  }
  UNIONFS_ASSIGN(const auto* below, lower_names_.of(number));
  std::map<std::string_view, const NamedEntry*> now;
  for (const NamedEntry& entry : directory.entries) {
    now[entry.name] = &entry;
  }
  for (const auto& [name, inode] : *below) {
    const auto found = now.find(name);
    UNIONFS_ASSIGN(const bool is_there,
                   is_still_there(found == now.end() ? nullptr : found->second, inode));
    if (is_there) {
      continue;
    }
    names_changed_.insert(number);
    UNIONFS_ASSIGN(const std::string parent, lower_names_.path(number));
    UNIONFS_TRY(lower_name_gone(parent + "/" + name, inode));
  }
  return {};
}

// Whether the layer's entry of a name of the lower, if there is one, still leads
// to the lower's file.
Result<bool> TreeChanges::is_still_there(const NamedEntry* entry, InodeNumber below) {
  if (entry == nullptr || entry->kind == EntryKind::kWhiteout) {
    return false;
  }
  if (entry->kind == EntryKind::kFallthru) {
    return true;
  }
  return entry->inode == below ? is_same(below) : Result<bool>(false);
}

// A name that is gone, and, if it was a directory that is gone too, all below.
Result<void> TreeChanges::lower_name_gone(std::string path, InodeNumber inode) {
  std::deque<Name> queue = {{std::move(path), inode, false}};
  while (!queue.empty()) {
    Name name = std::move(queue.front());
    queue.pop_front();
    UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, name.inode));
    UNIONFS_ASSIGN(const bool same, is_same(name.inode));
    if (below.is_directory() && !same) {
      UNIONFS_ASSIGN(const auto* names, lower_names_.of(name.inode));
      for (const auto& [child, child_inode] : *names) {
        queue.push_back({name.path + "/" + child, child_inode, false});
      }
    }
    gone_.push_back(std::move(name));
  }
  return {};
}

Result<void> TreeChanges::visit_name(const LayerDirectory& directory, const NamedEntry& entry) {
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
    UNIONFS_ASSIGN(const auto* names, lower_names_.of(parent));
    const auto found = names->find(entry.name);
    was_there = found != names->end() && found->second == entry.inode;
  }
  // Inodes are compared later, when it is known which directories' names changed.
  const bool is_unchanged = was_there && same;
  if (!is_unchanged) {
    names_changed_.insert(parent);
  }
  come_.push_back({path, entry.inode, is_unchanged});
  return {};
}

// Pairs names that are gone with names that have come for the same file.
Result<void> TreeChanges::settle_names() {
  std::map<InodeNumber, std::deque<Name>> gone_of;
  for (Name& name : gone_) {
    UNIONFS_ASSIGN(const bool same, is_same(name.inode));
    if (same) {
      gone_of[name.inode].push_back(std::move(name));
    } else {
      UNIONFS_TRY(add_deleted(name, false));
    }
  }
  for (const Name& name : come_) {
    UNIONFS_TRY(settle_name(name, gone_of[name.inode]));
  }
  for (const auto& [inode, names] : gone_of) {
    for (const Name& name : names) {
      UNIONFS_TRY(add_deleted(name, true));
    }
  }
  return {};
}

// A name of the layer; `old_names` are those that the same file has lost.
Result<void> TreeChanges::settle_name(const Name& name, std::deque<Name>& old_names) {
  if (name.is_unchanged) {
    UNIONFS_ASSIGN(const InodeDifference* found, difference(name.inode));
    return found->is_any() ? add_renamed({}, name) : Result<void>();
  }
  if (old_names.empty()) {
    return add_added(name);
  }
  UNIONFS_TRY(add_renamed(old_names.front(), name));
  old_names.pop_front();
  return {};
}

Result<void> TreeChanges::add_deleted(const Name& name, bool is_link) {
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, name.inode));
  Change change;
  change.kind = ChangeKind::kDeleted;
  change.path = name.path;
  change.inode = name.inode;
  change.file_type = below.file_type();
  change.old_size_bytes = below.size_bytes();
  change.is_link = is_link;
  changes_.push_back(std::move(change));
  return {};
}

Result<void> TreeChanges::add_added(const Name& name) {
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
Result<void> TreeChanges::add_renamed(const Name& old_name, const Name& new_name) {
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

}  // namespace

Result<std::vector<Change>> changes_of(const LayerOverLower& layer, const Volume& merged) {
  return TreeChanges({layer.below().volume(), layer.upper(), merged, layer.layer()}).run();
}

Result<std::vector<Change>> changes_of(Disk& disk) {
  if (disk.session_block_count() == 0) {
    UNIONFS_ASSIGN(const auto merged, MergedImage::open("merged image", disk.view()));
    return changes_of(disk.layer(), merged->volume());
  }
  const auto next = disk.next_layer();
  if (!next) {
    return Failure(Error{next.error().kind, next.error().error_number,
                         fmt::format("{}: the open session cannot be read as files: {}",
                                     disk.layer().upper().name(), next.error().message)});
  }
  return changes_of((*next)->layer(), (*next)->merged());
}

}  // namespace unionfs
