// SPDX-License-Identifier: BSD-3-Clause
//
// What is taken as a whole: the trees of --ours-tree, directories that theirs has no
// more, and copies of directories.
#include "fsparse/entered_directories.h"
#include "overlay/rebase/comparison.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {
namespace {

// A name of the old lower that ours has no more.
RebaseRow deletion_of(const std::string& path, const InodeRecord& below) {
  Change gone;
  gone.kind = ChangeKind::kDeleted;
  gone.path = path;
  gone.below_path = path;
  gone.below = below.number();
  gone.file_type = below.file_type();
  return RebaseRow{std::move(gone)};
}

}  // namespace

// The paths of rows at this one, or at or below it.
std::vector<std::string> RebaseComparison::rows_in(const std::string& path, bool is_tree) const {
  std::vector<std::string> found;
  for (auto row = rows_.lower_bound(path); row != rows_.end() && row->first.starts_with(path);
       ++row) {
    if (row->first == path || (is_tree && is_at_or_below(row->first, path))) {
      found.push_back(row->first);
    }
  }
  return found;
}

// What is taken as ours is told by rows of its own.
void RebaseComparison::forget_rows(const std::string& path, bool is_tree) {
  const auto is_in = [&](const std::string& other) {
    return other == path || (is_tree && is_at_or_below(other, path));
  };
  for (const std::string& row_path : rows_in(path, is_tree)) {
    const auto row = rows_.find(row_path);
    const Change& change = row->second.change;
    if (change.kind == ChangeKind::kRenamed) {
      moved_.erase(change.below_path);
      if (!is_in(change.below_path)) {
        // What it was before goes, as ours has it.
        Change gone = change;
        gone.kind = ChangeKind::kDeleted;
        gone.path = change.below_path;
        deletions_.emplace(change.below_path, RebaseRow{std::move(gone)});
      }
    }
    rows_.erase(row);
  }
  std::erase_if(deletions_, [&](const auto& entry) { return is_in(entry.first); });
}

// Rows that make a path, and all below, what ours has.  Without `replaces` theirs has nothing
// there that would have to go.
Result<void> RebaseComparison::take_tree(const std::string& path, bool is_forced, bool replaces) {
  EnteredDirectories entered_ours(ours_.volume());
  EnteredDirectories entered_theirs(theirs_.volume());
  std::vector<std::string> left{path};
  while (!left.empty()) {
    const std::string at = std::move(left.back());
    left.pop_back();
    const auto known = rows_.find(at);
    if (at != path && known != rows_.end() && known->second.change.kind == ChangeKind::kRenamed) {
      continue;  // what was moved here comes from elsewhere, with all below
    }
    UNIONFS_TRY(take_name(at, is_forced));
    std::set<std::string> names;
    for (SideTree* side : {&ours_, &theirs_}) {
      if (side == &theirs_ && (!replaces || has_moved_elsewhere(at))) {
        break;
      }
      UNIONFS_ASSIGN(const auto inode, side->find(at));
      UNIONFS_ASSIGN(const bool is_directory,
                     inode ? side->is_directory(*inode) : Result<bool>(false));
      if (!is_directory) {
        if (side == &ours_) {
          names.clear();
          break;  // it goes, or becomes a file, with all below
        }
        continue;
      }
      UNIONFS_TRY((side == &ours_ ? entered_ours : entered_theirs).enter(*inode));
      UNIONFS_ASSIGN(const LowerNames::Names* in, side->names_of(*inode));
      for (const auto& [name, child] : *in) {
        names.insert(name);
      }
    }
    for (const std::string& name : names) {
      left.push_back(at + "/" + name);
    }
  }
  return {};
}

// What theirs has under a name follows the old lower's directory, which ours has elsewhere.
bool RebaseComparison::has_moved_elsewhere(const std::string& path) const {
  const std::optional<std::string> now = ours_path_of(path);
  return now && *now != path;
}

// A name that has its own row.
void RebaseComparison::take_row(RebaseRow& row) {
  row.is_taken = true;
  const bool is_file = row.change.file_type != ext2::kFileTypeDirectory;
  if (is_file && row.is_dropped && row.has_only_times()) {
    // A link of the file asked for it before it was known that all of the tree is taken.
    row.is_done = false;
    row.is_dropped = false;
    std::erase(report_.dropped, row.change.path);
    queue_.push_back(row.change.path);
  }
}

Result<void> RebaseComparison::take_name(const std::string& path, bool is_forced) {
  UNIONFS_ASSIGN(const auto ours, ours_.find(path));
  UNIONFS_ASSIGN(const auto theirs, theirs_.find(path));
  Change change;
  change.path = path;
  if (ours) {
    if (const auto known = rows_.find(path); known != rows_.end()) {
      take_row(known->second);
      return {};
    }
    UNIONFS_ASSIGN(const SharedState state, ours_.state(*ours));
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(ours_.volume(), *ours));
    change.kind = ChangeKind::kAdded;
    change.inode = *ours;
    change.file_type = record.file_type();
    change.new_size_bytes = state->size_bytes;
    const bool is_directory = record.is_directory();
    rows_.emplace(path, RebaseRow{std::move(change), is_forced});
    queue_.push_back(path);
    return is_directory ? Result<void>() : replace_directory(path);
  } else if (theirs && !has_moved_elsewhere(path)) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(theirs_.volume(), *theirs));
    change.kind = ChangeKind::kDeleted;
    change.below_path = path;
    change.file_type = record.file_type();
    deletions_.insert_or_assign(path, RebaseRow{std::move(change), true});
  }
  return {};
}

// A further name of a file that went with the copy is a name of the copy, and not of what lies
// under the old name now; but it may be one of a name elsewhere, too.
Result<void> RebaseComparison::separate_links(const std::string& from) {
  std::map<InodeNumber, std::string> kept_names;
  for (auto& [path, row] : rows_) {
    Change& change = row.change;
    if (change.link_of.empty() || !is_at_or_below(change.link_of, from)) {
      continue;
    }
    auto known = kept_names.find(change.inode);
    if (known == kept_names.end()) {
      UNIONFS_ASSIGN(std::string name, kept_name_of(change));
      known = kept_names.emplace(change.inode, std::move(name)).first;
    }
    change.link_of = known->second;
    change.is_link = change.is_link && !change.link_of.empty();
  }
  return {};
}

// Empty: no old name leads to the file any more.
Result<std::string> RebaseComparison::kept_name_of(const Change& link) {
  for (const std::string& name : *link.links_of) {
    const std::optional<std::string> path = ours_path_of(name);
    UNIONFS_ASSIGN(const auto now,
                   path ? ours_.find(*path) : Result<std::optional<InodeNumber>>(std::nullopt));
    if (now == link.inode) {
      return name;
    }
  }
  return std::string();
}

// A file that is taken stands where the old lower may have a directory.
Result<void> RebaseComparison::replace_directory(const std::string& path) {
  UNIONFS_ASSIGN(const auto base, base_.find(path));
  UNIONFS_ASSIGN(const bool is_directory, base ? base_.is_directory(*base) : Result<bool>(false));
  if (is_directory) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(base_.volume(), *base));
    RebaseRow row = deletion_of(path, record);
    row.is_done = true;  // with what is taken
    deletions_.emplace(path, std::move(row));
  }
  return {};
}

// Of a file of which a row tells, each name that the layer has is compared, also where nothing of
// it has changed: what comes to the same stays one file.
Result<void> RebaseComparison::add_names_elsewhere() {
  std::map<InodeNumber, unsigned> known;  // names that rows tell of
  for (const auto& [path, row] : rows_) {
    if (row.change.file_type != ext2::kFileTypeDirectory) {
      ++known[row.change.inode];
    }
  }
  std::set<InodeNumber> wanted;
  for (const auto& [inode, count] : known) {
    UNIONFS_ASSIGN(const SharedState state, ours_.state(inode));
    if (state->links_count > count) {
      wanted.insert(inode);
    }
  }
  if (wanted.empty()) {
    return {};
  }
  return walk_layer(
      sources_.layer.upper(),
      {[](const LayerDirectory&) -> Result<void> { return {}; },
       [&](const LayerDirectory& directory, const NamedEntry& entry) -> Result<void> {
         const bool is_wanted = entry.kind == EntryKind::kReal && wanted.contains(entry.inode);
         return is_wanted ? add_unchanged(directory.path + "/" + entry.name, entry.inode)
                          : Result<void>();
       }});
}

// A name that shows what it did, unless a row tells of it.
Result<void> RebaseComparison::add_unchanged(const std::string& path, InodeNumber inode) {
  const std::optional<std::string> base_path = base_path_of(path);
  UNIONFS_ASSIGN(const auto base, base_path ? base_.find(*base_path)
                                            : Result<std::optional<InodeNumber>>(std::nullopt));
  if (!base) {
    return {};
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(ours_.volume(), inode));
  Change change;
  change.kind = ChangeKind::kMetadata;
  change.path = path;
  change.below_path = *base_path;
  change.below = *base;
  change.inode = inode;
  change.file_type = record.file_type();
  change.old_size_bytes = record.size_bytes();
  change.new_size_bytes = record.size_bytes();
  RebaseRow row{std::move(change)};
  row.is_made_alike = true;
  row.is_unchanged = true;
  rows_.emplace(path, std::move(row));
  return {};
}

// `mv d d.old; cp -a d.old d`: the old name is an edit, and the moved directory a copy.
Result<void> RebaseComparison::separate_copies() {
  // A directory comes before what lies below it, whose old name is another one where it is a copy.
  using OldPlace = std::pair<size_t, std::string>;  // depth and path in the old lower
  const auto place_of = [](std::string path) {
    const auto depth = static_cast<size_t>(std::count(path.begin(), path.end(), '/'));
    return OldPlace(depth, std::move(path));
  };
  std::map<OldPlace, std::string> moves;
  for (const auto& [from, to] : moved_) {
    moves.emplace(place_of(from), to);
  }
  for (auto move = moves.begin(); move != moves.end();) {
    UNIONFS_ASSIGN(const bool is_copy, separate_copy(move->first.second, move->second));
    auto next = std::next(move);
    if (is_copy) {
      // The copy may have taken the place of a directory that moved, and that is one now, too.
      const auto [parent, name] = split_path(move->second);
      const std::optional<std::string> above = base_path_of(parent);
      const auto before = above ? moves.find(place_of(*above + "/" + name)) : moves.end();
      next = before != moves.end() && before->first < move->first ? before : next;
    }
    move = next;
  }
  queue_.clear();  // all rows are going to be queued
  return {};
}

// Whether a path below a directory came there with something that moved into it.
bool RebaseComparison::has_moved_into(const std::string& path, const std::string& directory) const {
  for (std::string above = split_path(path).first; above.size() > directory.size();
       above = split_path(above).first) {
    const auto row = rows_.find(above);
    if (row != rows_.end() && row->second.change.kind == ChangeKind::kRenamed) {
      return true;
    }
  }
  return false;
}

// False: another directory has not been made of its old name.
Result<bool> RebaseComparison::separate_copy(const std::string& from, const std::string& to) {
  const auto [parent, last] = split_path(from);
  const std::optional<std::string> above = ours_path_of(parent);
  const std::string old_name = above.value_or(std::string()) + "/" + last;
  const auto again = above ? rows_.find(old_name) : rows_.end();
  if (!moved_.contains(from) || again == rows_.end() ||
      again->second.change.kind != ChangeKind::kAdded ||
      again->second.change.file_type != ext2::kFileTypeDirectory ||
      rows_.at(to).change.file_type != ext2::kFileTypeDirectory) {
    return false;
  }
  Change& moved = rows_.at(to).change;
  const InodeNumber base = moved.below;
  moved.kind = ChangeKind::kAdded;
  moved.below_path.clear();
  moved_.erase(from);
  for (auto& [path, row] : rows_) {
    const bool is_change =
        row.change.kind == ChangeKind::kModified || row.change.kind == ChangeKind::kMetadata;
    if (is_change && is_at_or_below(path, to) && !has_moved_into(path, to)) {
      row.change.kind = ChangeKind::kAdded;
      row.change.below_path.clear();
    }
  }
  UNIONFS_TRY(take_tree(to, false, false));
  UNIONFS_TRY(separate_links(from));
  UNIONFS_TRY(compare_by_path(old_name, from, base));
  return true;
}

// The directory that was made of the old name of a copy, and those in it that have old names, too,
// are compared by path with what the old lower had there.
Result<void> RebaseComparison::compare_by_path(const std::string& path,
                                               const std::string& base_path, InodeNumber base) {
  struct Left {
    std::string path;
    std::string base_path;
    InodeNumber base;
  };
  std::vector<Left> queue = {{path, base_path, base}};
  while (!queue.empty()) {
    const Left left = std::move(queue.back());
    queue.pop_back();
    RebaseRow& row = rows_.at(left.path);
    row.change.kind = ChangeKind::kMetadata;
    row.change.below_path = left.base_path;
    row.change.below = left.base;
    row.change.metadata.clear();  // they were of the directory that it was taken for
    UNIONFS_ASSIGN(row.is_made_alike, files_.is_ours_as_base(left.base, row.change.inode));
    UNIONFS_ASSIGN(const LowerNames::Names* before, base_.names_of(left.base));
    for (const auto& [name, inode] : *before) {
      const std::string below = left.base_path + "/" + name;
      UNIONFS_ASSIGN(const auto now, ours_.child(row.change.inode, name));
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(base_.volume(), inode));
      if (now) {
        deletions_.erase(below);  // it was deleted of the copy, and is here again
        const auto again = rows_.find(left.path + "/" + name);
        if (again == rows_.end()) {
          continue;
        }
        undo_rename(again->second, below, inode);
        const Change& change = again->second.change;
        if (change.kind != ChangeKind::kAdded || change.file_type != record.file_type()) {
          continue;
        }
        if (!record.is_directory()) {
          separate_file(below, change.inode == inode);
          UNIONFS_TRY(compare_file_by_path(again->second, below, inode));
        } else if (!moved_.contains(below)) {
          queue.push_back({again->first, below, inode});
        }
      } else if (!moved_.contains(below)) {
        deletions_.emplace(below, deletion_of(below, record));
      }
    }
  }
  return {};
}

// A file that was moved, and of which the old name is there again: another name of it where that
// leads to the same file, else a copy.
void RebaseComparison::separate_file(const std::string& base_path, bool is_same_file) {
  const auto moved = moved_.find(base_path);
  if (moved == moved_.end()) {
    return;
  }
  Change& change = rows_.at(moved->second).change;
  change.kind = ChangeKind::kAdded;
  change.from.clear();
  change.below_path.clear();
  if (is_same_file) {
    change.is_link = true;
    change.link_of = base_path;
    change.links_of = std::make_shared<const std::vector<std::string>>(1, base_path);
  }
  moved_.erase(moved);
}

// The name leads to the file that it had, which has lost another one, in the moved directory
// perhaps.  So it was taken for a name that came, and is none.
void RebaseComparison::undo_rename(RebaseRow& row, const std::string& base_path, InodeNumber base) {
  Change& change = row.change;
  if (change.kind != ChangeKind::kRenamed || change.inode != base ||
      change.file_type == ext2::kFileTypeDirectory) {
    return;
  }
  const std::string old_name = std::exchange(change.below_path, {});
  moved_.erase(old_name);
  if (old_name != base_path) {
    Change gone = change;
    gone.kind = ChangeKind::kDeleted;
    gone.path = old_name;
    gone.below_path = old_name;
    gone.from.clear();
    deletions_.emplace(old_name, RebaseRow{std::move(gone)});
  }
  change.kind = ChangeKind::kAdded;
  change.from.clear();
}

Result<void> RebaseComparison::compare_file_by_path(RebaseRow& row, const std::string& base_path,
                                                    InodeNumber base) {
  Change& change = row.change;
  change.kind = ChangeKind::kModified;
  change.below_path = base_path;
  change.below = base;
  if (change.inode == base) {
    change.link_of.clear();  // the name leads where it did
    change.is_link = false;
  }
  UNIONFS_ASSIGN(row.is_made_alike, files_.is_ours_as_base(base, change.inode));
  return {};
}

}  // namespace unionfs
