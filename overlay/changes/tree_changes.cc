// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/tree_changes.h"

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "fsparse/entered_directories.h"
#include "overlay/changes/inode_changes.h"
#include "overlay/changes/lower_names.h"
#include "overlay/changes/same_file.h"
#include "overlay/merged/merged_image.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {
namespace {

// Names are compared by path, or rather by directory and name: a directory that moved is
// compared with itself, and one that took another's place with that one.
class TreeChanges {
 public:
  TreeChanges(const ChangeSources& sources, const ChangeVisitor& visit)
      : from_(sources),
        visit_(visit),
        lower_names_(sources.lower),
        inodes_(sources),
        same_(sources, inodes_),
        counterparts_{{kRootDirectory, kRootDirectory}} {}

  Result<void> run();

 private:
  struct Name {
    std::string path;
    InodeNumber inode;
    // Of a name of the layer: what it led to in the lower, and is compared with.
    std::optional<InodeNumber> below = std::nullopt;
    std::string below_path = {};  // of that
    bool is_kept = false;         // it leads to the lower's file still
  };

  Result<void> visit_directory(const LayerDirectory& directory);
  Result<void> visit_name(const LayerDirectory& directory, const NamedEntry& entry);
  Result<std::optional<InodeNumber>> counterpart_of(InodeNumber inode, InodeNumber below);
  Result<void> add_counterpart(InodeNumber directory, std::optional<InodeNumber> below);
  Result<void> compare_names(InodeNumber directory, InodeNumber counterpart,
                             const std::vector<NamedEntry>& entries);
  Result<bool> is_gone(const NamedEntry* entry, InodeNumber below);
  Result<void> lower_name_gone(std::string path, InodeNumber inode);
  using OldNames = std::map<InodeNumber, std::deque<Name>>;  // by what they led to

  Result<void> settle_names();
  void find_kept(const OldNames& gone_of);
  Result<bool> settle_if_moved(Name& name, OldNames& gone_of);
  void add_kept(InodeNumber file, const std::string& old_name);
  Result<void> add_deleted(Name name, bool is_link);
  Result<void> add_added(Name name);
  Result<void> add_changed(Name name, InodeNumber below, bool is_moved);

  const ChangeSources from_;
  const ChangeVisitor& visit_;
  LowerNames lower_names_;
  InodeChanges inodes_;
  SameFile same_;
  // Of the layer's directories, those of the lower whose names they are compared with.
  std::map<InodeNumber, InodeNumber> counterparts_;
  std::vector<Name> gone_;               // lower names, in the order in which they were met
  std::deque<Name> come_;                // real names of the layer
  std::set<InodeNumber> names_changed_;  // own directories whose names changed
  // Of files of the lower that have lost a name or got one: the names that they have still.
  std::map<InodeNumber, std::shared_ptr<std::vector<std::string>>> kept_;
};

Result<void> TreeChanges::run() {
  UNIONFS_TRY(walk_layer(
      from_.upper, {[this](const LayerDirectory& directory) { return visit_directory(directory); },
                    [this](const LayerDirectory& directory, const NamedEntry& entry) {
                      return visit_name(directory, entry);
                    }}));
  return settle_names();
}

Result<void> TreeChanges::visit_directory(const LayerDirectory& directory) {
  const InodeNumber number = directory.record.number();
  if (number == kRootDirectory) {
    come_.push_back({"/", number, number, "/"});
  }
  const auto counterpart = counterparts_.find(number);
  if (counterpart == counterparts_.end()) {
    names_changed_.insert(number);
    return {};
  }
  if (counterpart->second != number) {
    names_changed_.insert(number);
  }
  return compare_names(number, counterpart->second, directory.entries);
}

// Finds the names that the lower directory has and this one has no more.
Result<void> TreeChanges::compare_names(InodeNumber directory, InodeNumber counterpart,
                                        const std::vector<NamedEntry>& entries) {
  UNIONFS_ASSIGN(const auto* below, lower_names_.of(counterpart));
  std::map<std::string_view, const NamedEntry*> now;
  for (const NamedEntry& entry : entries) {
    now[entry.name] = &entry;
  }
  for (const auto& [name, inode] : *below) {
    const auto found = now.find(name);
    UNIONFS_ASSIGN(const bool gone, is_gone(found == now.end() ? nullptr : found->second, inode));
    if (gone) {
      names_changed_.insert(directory);
      UNIONFS_ASSIGN(const std::string parent, lower_names_.path(counterpart));
      UNIONFS_TRY(lower_name_gone(parent + "/" + name, inode));
    }
  }
  return {};
}

// Whether nothing stands under a name of the lower that can be compared with it.
Result<bool> TreeChanges::is_gone(const NamedEntry* entry, InodeNumber below) {
  if (entry == nullptr || entry->kind == EntryKind::kWhiteout) {
    return true;
  }
  if (entry->kind == EntryKind::kFallthru) {
    return false;
  }
  UNIONFS_ASSIGN(const auto counterpart, counterpart_of(entry->inode, below));
  return !counterpart;
}

// What the inode is compared with, whose name leads to `below` in the lower: that one, or
// nothing, because it is something else.  Directories go by what they are, where that can
// be said, so that one that was moved keeps its names.
Result<std::optional<InodeNumber>> TreeChanges::counterpart_of(InodeNumber inode,
                                                               InodeNumber below) {
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, inode));
  UNIONFS_ASSIGN(const InodeRecord before, read_inode(from_.lower, below));
  if (now.type() != before.type()) {
    return std::optional<InodeNumber>();
  }
  if (now.is_directory() && inode != below) {
    UNIONFS_ASSIGN(const bool came_from_elsewhere, same_.is_proven(inode));
    UNIONFS_ASSIGN(const bool went_elsewhere, same_.is_proven(below));
    if (came_from_elsewhere || went_elsewhere) {
      return std::optional<InodeNumber>();
    }
  }
  return std::optional<InodeNumber>(below);
}

// A name that is gone, and, if it was a directory that is gone too, all below.
Result<void> TreeChanges::lower_name_gone(std::string path, InodeNumber inode) {
  EnteredDirectories entered(from_.lower);
  std::deque<Name> queue = {{std::move(path), inode}};
  while (!queue.empty()) {
    Name name = std::move(queue.front());
    queue.pop_front();
    UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, name.inode));
    if (below.is_directory()) {
      UNIONFS_ASSIGN(const bool went_elsewhere, same_.is_proven(name.inode));
      if (!went_elsewhere) {
        UNIONFS_TRY(entered.enter(name.inode));
        UNIONFS_ASSIGN(const auto* names, lower_names_.of(name.inode));
        for (const auto& [child, child_inode] : *names) {
          queue.push_back({name.path + "/" + child, child_inode});
        }
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
  const InodeNumber parent = directory.record.number();
  Name come{directory.path + "/" + entry.name, entry.inode};
  if (const auto counterpart = counterparts_.find(parent); counterpart != counterparts_.end()) {
    UNIONFS_ASSIGN(const auto* names, lower_names_.of(counterpart->second));
    if (const auto found = names->find(entry.name)) {
      UNIONFS_ASSIGN(come.below, counterpart_of(entry.inode, *found));
      UNIONFS_ASSIGN(const std::string below, lower_names_.path(counterpart->second));
      come.below_path = below + "/" + entry.name;
    }
  }
  // Inodes are compared later, when it is known which directories' names changed.
  UNIONFS_ASSIGN(const bool is_as_before,
                 come.below == entry.inode ? same_.is_possible(entry.inode) : Result<bool>(false));
  come.is_kept = is_as_before;
  if (!is_as_before) {
    names_changed_.insert(parent);
  }
  if (entry.file_type == ext2::kFileTypeDirectory) {
    UNIONFS_TRY(add_counterpart(entry.inode, come.below));
  }
  come_.push_back(std::move(come));
  return {};
}

Result<void> TreeChanges::add_counterpart(InodeNumber directory, std::optional<InodeNumber> below) {
  UNIONFS_ASSIGN(const bool same, same_.is_proven(directory));
  if (same) {
    counterparts_.emplace(directory, directory);
  } else if (below) {
    counterparts_.emplace(directory, *below);
  }
  return {};
}

// Pairs names that are gone with names that have come for the same file.  Renames go first, for
// the file has what they make, and so a name in the place of another file is a link to that.
Result<void> TreeChanges::settle_names() {
  OldNames gone_of;
  for (Name& name : std::exchange(gone_, {})) {
    gone_of[name.inode].push_back(std::move(name));
  }
  find_kept(gone_of);
  std::deque<Name> others;
  while (!come_.empty()) {
    Name name = std::move(come_.front());
    come_.pop_front();
    UNIONFS_ASSIGN(const bool is_moved, settle_if_moved(name, gone_of));
    if (!is_moved) {
      others.push_back(std::move(name));
    }
  }
  while (!others.empty()) {
    Name name = std::move(others.front());
    others.pop_front();
    if (const std::optional<InodeNumber> below = name.below) {
      UNIONFS_TRY(add_changed(std::move(name), *below, false));
    } else {
      UNIONFS_TRY(add_added(std::move(name)));
    }
  }
  for (auto& [inode, names] : gone_of) {
    for (Name& name : names) {
      UNIONFS_TRY(add_deleted(std::move(name), kept_.contains(inode)));
    }
  }
  return {};
}

// Most files have just the name that they had, and nobody asks for it.
void TreeChanges::find_kept(const OldNames& gone_of) {
  std::set<InodeNumber> linked;
  for (const Name& name : come_) {
    if (name.below != name.inode) {
      linked.insert(name.inode);
    }
  }
  for (const Name& name : come_) {
    if (name.is_kept && (linked.contains(name.inode) || gone_of.contains(name.inode))) {
      add_kept(name.inode, name.below_path);
    }
  }
}

// Whether the name is one to which a file of the lower has moved, which is told then; those in
// `gone_of` are what these files have lost.
Result<bool> TreeChanges::settle_if_moved(Name& name, OldNames& gone_of) {
  const auto old_names = gone_of.find(name.inode);
  if (name.below || old_names == gone_of.end() || old_names->second.empty()) {
    return false;
  }
  UNIONFS_ASSIGN(const bool is_moved, same_.is_proven(name.inode));
  if (!is_moved) {
    return false;
  }
  name.below_path = std::move(old_names->second.front().path);
  old_names->second.pop_front();
  add_kept(name.inode, name.below_path);
  const InodeNumber inode = name.inode;
  UNIONFS_TRY(add_changed(std::move(name), inode, true));
  return true;
}

void TreeChanges::add_kept(InodeNumber file, const std::string& old_name) {
  auto& names = kept_[file];
  if (names == nullptr) {
    names = std::make_shared<std::vector<std::string>>();
  }
  names->push_back(old_name);
}

Result<void> TreeChanges::add_deleted(Name name, bool is_link) {
  UNIONFS_ASSIGN(const InodeRecord below, read_inode(from_.lower, name.inode));
  Change change;
  change.kind = ChangeKind::kDeleted;
  change.path = name.path;
  change.inode = name.inode;
  change.file_type = below.file_type();
  change.old_size_bytes = below.size_bytes();
  change.below_path = std::move(name.path);
  change.below = name.inode;
  change.is_link = is_link;
  return visit_(std::move(change));
}

Result<void> TreeChanges::add_added(Name name) {
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, name.inode));
  Change change;
  change.kind = ChangeKind::kAdded;
  change.path = std::move(name.path);
  change.inode = name.inode;
  change.file_type = now.file_type();
  change.new_size_bytes = now.size_bytes();
  if (const auto kept = kept_.find(name.inode); kept != kept_.end()) {
    change.is_link = true;
    change.link_of = kept->second->front();
    change.links_of = kept->second;
  }
  return visit_(std::move(change));
}

// Of a name whose file is compared with one of the lower, which is named `below_path` there.
// Nothing is told of a name that stayed and shows the same.
Result<void> TreeChanges::add_changed(Name name, InodeNumber below, bool is_moved) {
  UNIONFS_ASSIGN(const InodeDifference* found,
                 inodes_.difference(below, name.inode, names_changed_.contains(name.inode)));
  if (!is_moved && !found->is_any()) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord before, read_inode(from_.lower, below));
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(from_.merged, name.inode));
  Change change;
  change.kind = is_moved            ? ChangeKind::kRenamed
                : found->is_content ? ChangeKind::kModified
                                    : ChangeKind::kMetadata;
  change.path = std::move(name.path);
  change.from = is_moved ? name.below_path : "";
  change.below_path = std::move(name.below_path);
  change.below = below;
  if (const auto kept = kept_.find(name.inode); below != name.inode && kept != kept_.end()) {
    change.link_of = kept->second->front();
    change.links_of = kept->second;
  }
  change.inode = name.inode;
  change.file_type = now.file_type();
  change.old_size_bytes = before.size_bytes();
  change.new_size_bytes = now.size_bytes();
  change.is_content_changed = found->is_content;
  change.changed_bytes = found->changed_bytes;
  change.metadata = found->metadata;
  return visit_(std::move(change));
}

}  // namespace

Result<void> for_each_change(const LayerOverLower& layer, const Volume& merged,
                             const ChangeVisitor& visit) {
  return TreeChanges({layer.below().volume(), layer.upper(), merged, layer.layer()}, visit).run();
}

Result<std::vector<Change>> changes_of(const LayerOverLower& layer, const Volume& merged) {
  std::vector<Change> changes;
  UNIONFS_TRY(for_each_change(layer, merged, [&changes](Change change) -> Result<void> {
    changes.push_back(std::move(change));
    return {};
  }));
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return a.path < b.path; });
  return changes;
}

namespace {

using ChangesVisitor = std::function<Result<void>(const ComparedTrees&)>;

Result<void> visit_between(const LayerOverLower& disk_layer, const Volume& merged,
                           const ChangesVisitor& visit, const LayerInstead& instead) {
  const LayerOverLower* layer = &disk_layer;
  if (instead) {
    UNIONFS_ASSIGN(layer, instead(disk_layer));
  }
  UNIONFS_ASSIGN(auto changes, changes_of(*layer, merged));
  return visit({layer->below().volume(), merged, layer->upper(), std::move(changes)});
}

Result<void> visit_session(Disk& disk, const ChangesVisitor& visit, const LayerInstead& instead) {
  UNIONFS_ASSIGN(const auto next, disk.next_layer());
  return visit_between(next->layer(), next->merged(), visit, instead);
}

}  // namespace

Result<void> visit_changes(Disk& disk, ChangesUntil until, const ChangesVisitor& visit,
                           const LayerInstead& instead) {
  UNIONFS_TRY(disk.check_has_layer());
  if (until == ChangesUntil::kLayer || disk.session_block_count() == 0) {
    const LayerOverLower& layer = disk.layer();
    UNIONFS_ASSIGN(const auto merged, MergedImage::open("merged image", layer.view()));
    return visit_between(layer, merged->volume(), visit, instead);
  }
  // That something impossible was asked says nothing of the session.
  Result<void> answer;
  const auto hear = [&](const ComparedTrees& trees) -> Result<void> {
    answer = visit(trees);
    return !answer && answer.error().kind != ErrorKind::kInvalid ? answer : Result<void>();
  };
  const Result<void> seen = visit_session(disk, hear, instead);
  if (!seen) {
    const Error& error = seen.error();
    const bool is_in_use = (disk.state_area().flags & upper_format::kFlagInUse) != 0;
    const bool may_be_torn = is_in_use && error.kind == ErrorKind::kCorrupt;
    return make_failure(
        may_be_torn ? ErrorKind::kInvalid : error.kind, error.error_number,
        fmt::format("{}: the open session cannot be read as files{}: {}",
                    disk.layer().upper().name(),
                    may_be_torn ? " (it may be written to at this moment)" : "", error.message));
  }
  return answer;
}

}  // namespace unionfs
