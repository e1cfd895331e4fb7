// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/three_way.h"

#include <algorithm>

#include "overlay/changes/tree_changes.h"
#include "overlay/rebase/comparison.h"

namespace unionfs {

Result<void> check_reserved_inodes(const Volume& upper, const LayerTables& tables) {
  for (uint32_t number = 1; number <= 32; ++number) {
    const bool is_own = (tables.reserved_inodes_own >> (number - 1) & 1) != 0;
    const bool is_known = number == ext2::kRootInode || number == ext2::kResizeInode;
    if (is_own && !is_known && number < upper.layout().first_inode) {
      return unsupported(
          "{}: the layer has the reserved inode {} of its own, which cannot be carried over",
          upper.name(), number);
    }
  }
  return {};
}

Result<PlannedRebase> plan_rebase(const RebaseSources& sources, const RebasePolicy& policy) {
  SideTree base(sources.layer.below().volume());
  SideTree ours(sources.ours);
  SideTree theirs(sources.theirs);
  UNIONFS_ASSIGN(PlanBuilder builder, PlanBuilder::make(theirs));
  return RebaseComparison(sources, policy, std::move(builder), base, ours, theirs).run();
}

RebaseComparison::RebaseComparison(const RebaseSources& sources, const RebasePolicy& policy,
                                   PlanBuilder builder, SideTree& base, SideTree& ours,
                                   SideTree& theirs)
    : sources_(sources),
      policy_(policy),
      base_(base),
      ours_(ours),
      theirs_(theirs),
      files_(base, ours, theirs),
      builder_(std::move(builder)) {}

Result<PlannedRebase> RebaseComparison::run() {
  UNIONFS_TRY(check_reserved_inodes(sources_.layer.upper(), sources_.layer.layer().tables()));
  UNIONFS_TRY(read_changes());
  UNIONFS_TRY(separate_copies());
  UNIONFS_TRY(add_names_elsewhere());
  UNIONFS_TRY(settle_owners());
  UNIONFS_TRY(settle_units());
  for (const std::string& tree : policy_.ours_trees) {
    forget_rows(tree == "/" ? "" : tree, true);
    UNIONFS_TRY(take_tree(tree == "/" ? "" : tree, true, true));
  }
  for (const auto& [path, row] : rows_) {
    queue_.push_back(path);
  }
  while (!queue_.empty()) {
    const std::string path = std::move(queue_.front());
    queue_.pop_front();
    UNIONFS_TRY(settle_row(path));
  }
  UNIONFS_TRY(check_dependent_moves());
  UNIONFS_TRY(visit_left_directories());
  UNIONFS_TRY(settle_deletions());
  UNIONFS_TRY(settle_groups());
  UNIONFS_TRY(settle_directory_times());
  add_staying_names();
  UNIONFS_TRY(settle_superblock());
  report_.finish();
  report_.bytes_compared = files_.bytes_compared();
  return PlannedRebase{std::move(builder_.plan()), std::move(report_)};
}

Result<void> RebaseComparison::read_changes() {
  return for_each_change(sources_.layer, sources_.ours, [this](Change change) -> Result<void> {
    for (std::string* path : {&change.path, &change.below_path, &change.from}) {
      *path = *path == "/" ? "" : *path;
    }
    const bool is_regular = change.file_type == ext2::kFileTypeRegular;
    if (is_regular && change.kind != ChangeKind::kAdded && change.kind != ChangeKind::kDeleted) {
      files_.know_content(change.below, change.inode, !change.is_content_changed);
    }
    if (change.kind == ChangeKind::kRenamed) {
      moved_.emplace(change.below_path, change.path);
    }
    std::string key = change.path;
    auto& rows = change.kind == ChangeKind::kDeleted ? deletions_ : rows_;
    rows.emplace(std::move(key), RebaseRow{std::move(change)});
    return {};
  });
}

Result<Resolution> RebaseComparison::raise(const Raised& raised, bool is_forced) {
  if (is_forced) {
    return Resolution::kOurs;
  }
  const auto number_of = [](std::optional<InodeNumber> inode) {
    return inode ? inode->value() : 0;
  };
  const bool is_of_file = raised.conflict_class == ConflictClass::kEditEdit ||
                          raised.conflict_class == ConflictClass::kMetadata;
  if (raised.files.ours && (raised.from.empty() || is_of_file)) {
    // All names of a file that meet the same are one conflict; a rename is one for itself.
    const auto key = std::make_tuple(raised.conflict_class, number_of(raised.files.base),
                                     number_of(raised.files.ours), number_of(raised.files.theirs));
    const auto [known, is_new] = raised_.emplace(key, report_.conflicts.size());
    if (!is_new) {
      last_raised_ = known->second;
      Conflict& first = raised_conflict();
      first.links.push_back(raised.path);
      return first.resolution;
    }
  }
  Conflict conflict;
  conflict.conflict_class = raised.conflict_class;
  conflict.path = raised.path;
  conflict.from = raised.from;
  conflict.fields = raised.fields;
  conflict.text = raised.text.empty() ? remedy_of(raised.path) : raised.text;
  const auto state_in = [](SideTree& tree,
                           std::optional<InodeNumber> inode) -> Result<std::optional<FileState>> {
    if (!inode) {
      return std::optional<FileState>();
    }
    UNIONFS_ASSIGN(const SharedState state, tree.state(*inode));
    return std::optional<FileState>(*state);
  };
  UNIONFS_ASSIGN(conflict.base, state_in(base_, raised.files.base));
  UNIONFS_ASSIGN(conflict.ours, state_in(ours_, raised.files.ours));
  UNIONFS_ASSIGN(conflict.theirs, state_in(theirs_, raised.files.theirs));
  const Decision decision = decide(policy_, raised.path.empty() ? "/" : raised.path, raised.from);
  conflict.resolution = decision.resolution;
  conflict.decided_by = decision.decided_by;
  last_raised_ = report_.conflicts.size();
  report_.conflicts.push_back(std::move(conflict));
  if (decision.resolution != Resolution::kNone && !remedy_of(raised.path).empty()) {
    note("remedy", raised.path, remedy_of(raised.path));
  }
  return decision.resolution;
}

void RebaseComparison::note(std::string kind, std::string path, std::string text) {
  report_.notes.push_back({std::move(kind), std::move(path), std::move(text)});
}

void RebaseComparison::drop(RebaseRow& row) {
  row.is_dropped = true;
  if (!row.is_unchanged) {
    report_.dropped.push_back(row.change.path.empty() ? "/" : row.change.path);
  }
}

Result<void> RebaseComparison::settle_row(const std::string& path) {
  const auto found = rows_.find(path);
  if (found == rows_.end() || found->second.is_done) {
    return {};
  }
  RebaseRow& row = found->second;
  if (row.has_only_times() && !row.is_taken) {
    UNIONFS_ASSIGN(const bool is_there, has_of_type(row.change.below_path, row.change.below));
    if (row.is_done) {
      return {};  // with a directory that was settled for that
    }
    if (!is_there && !row.is_taken) {
      row.is_done = true;  // times make no conflict
      drop(row);
      return {};
    }
  }
  if (row.change.file_type == ext2::kFileTypeDirectory) {
    UNIONFS_TRY(directory_at(path));
    return {};
  }
  return settle_file(row);
}

// Renames that wait for one another were all taken to happen.
Result<void> RebaseComparison::check_dependent_moves() const {
  for (const auto& [from, needed_by] : vacated_) {
    const RebaseRow& row = rows_.at(moved_.at(from));
    const auto other = rows_.find(needed_by);
    const bool is_needed = other == rows_.end() || !other->second.is_dropped;
    if (row.is_dropped && is_needed && !report_.has_undecided()) {
      return invalid(
          "{}: \"{}\" was decided for theirs, but another rename needs the name that it "
          "leaves; decide both alike",
          sources_.layer.upper().name(), row.change.path);
    }
  }
  return {};
}

// Whether theirs has a name more, a name less, or something of another type under one.
Result<bool> RebaseComparison::has_other_names(InodeNumber base, InodeNumber theirs) {
  UNIONFS_ASSIGN(const LowerNames::Names* before, base_.names_of(base));
  UNIONFS_ASSIGN(const LowerNames::Names* now, theirs_.names_of(theirs));
  const auto is_missing = [now](const auto& entry) { return !now->contains(entry.first); };
  if (before->size() != now->size() || std::any_of(before->begin(), before->end(), is_missing)) {
    return true;
  }
  for (const auto& [name, inode] : *before) {
    UNIONFS_ASSIGN(const InodeRecord one, read_inode(base_.volume(), inode));
    UNIONFS_ASSIGN(const InodeRecord other, read_inode(theirs_.volume(), *now->find(name)));
    if (one.type() != other.type()) {
      return true;
    }
  }
  return false;
}

// Whether ours has a name more, a name less, or something else under one.
Result<bool> RebaseComparison::has_ours_changed_names(const ResultDirectory& directory) {
  UNIONFS_ASSIGN(const LowerNames::Names* before, base_.names_of(*directory.base));
  UNIONFS_ASSIGN(const LowerNames::Names* now, ours_.names_of(directory.ours));
  if (*before != *now) {
    return true;
  }
  for (const auto& [name, inode] : *now) {
    const auto row = rows_.find(directory.ours_path + "/" + name);
    if (row == rows_.end()) {
      continue;
    }
    UNIONFS_ASSIGN(const InodeRecord one, read_inode(base_.volume(), inode));
    UNIONFS_ASSIGN(const InodeRecord other, read_inode(ours_.volume(), inode));
    if (one.type() != other.type()) {
      return true;
    }
  }
  return false;
}

void RebaseComparison::add_staying_names() {
  for (; !staying_names_.empty(); staying_names_.pop_front()) {
    const auto& [key, name] = staying_names_.front();
    if (builder_.name(key.directory, key.name) == nullptr) {
      builder_.set_name(key.directory, key.name, name.file, name.path);
    }
  }
}

Result<bool> RebaseComparison::has_of_type(const std::string& base_path, InodeNumber base) {
  UNIONFS_ASSIGN(const auto theirs, theirs_of(base_path));
  if (!theirs) {
    return false;
  }
  UNIONFS_ASSIGN(const SharedState before, base_.state(base));
  UNIONFS_ASSIGN(const SharedState after, theirs_.state(*theirs));
  return before->type() == after->type();
}

Result<void> RebaseComparison::visit_left_directories() {
  for (const auto& [from, to] : moved_) {
    UNIONFS_ASSIGN(const bool is_there, has_of_type(from, rows_.at(to).change.below));
    if (!is_there) {
      UNIONFS_TRY(visit_directory_of(from));
    }
  }
  return {};
}

Result<FileTime> RebaseComparison::modified_time_of(const ResultDirectory& directory,
                                                    bool has_ours_changed) {
  UNIONFS_ASSIGN(const SharedState base, base_.state(*directory.base));
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(directory.ours));
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*directory.theirs));
  UNIONFS_ASSIGN(const bool has_theirs_changed,
                 has_other_names(*directory.base, *directory.theirs));
  if (has_ours_changed != has_theirs_changed) {
    return has_ours_changed ? ours->modified : theirs->modified;
  }
  const bool has_theirs_time = has_theirs_changed || theirs->modified != base->modified;
  return has_theirs_time ? std::max(ours->modified, theirs->modified) : ours->modified;
}

Result<void> RebaseComparison::settle_directory_times() {
  for (auto& [path, directory] : directories_) {
    if (directory.is_dropped || !directory.theirs || !directory.base ||
        directory.are_times_decided || directory.is_alike) {
      continue;
    }
    UNIONFS_ASSIGN(const SharedState ours, ours_.state(directory.ours));
    UNIONFS_ASSIGN(const SharedState base, base_.state(*directory.base));
    UNIONFS_ASSIGN(const bool has_ours, has_ours_changed_names(directory));
    // A file in another's place may have got its number.  Then the diff tells of that name, and
    // so not of the directory's time.
    if (!has_ours && ours->modified == base->modified) {
      continue;
    }
    UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*directory.theirs));
    UNIONFS_ASSIGN(const FileTime modified, modified_time_of(directory, true));
    if (modified != theirs->modified) {
      UNIONFS_ASSIGN(const PlannedFileId id, id_of(directory));
      builder_.file(id).state.modified = modified;
      builder_.file(id).state.changed = std::max(ours->changed, theirs->changed);
    }
  }
  return {};
}

}  // namespace unionfs
