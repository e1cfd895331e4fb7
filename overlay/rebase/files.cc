// SPDX-License-Identifier: BSD-3-Clause
//
// One name of ours that is no directory.
#include <algorithm>

#include "overlay/rebase/beside.h"
#include "overlay/rebase/comparison.h"

namespace unionfs {

Result<void> RebaseComparison::settle_file(RebaseRow& row) {
  row.is_done = true;
  if (row.is_given_up) {
    return leave_file(row);
  }
  const auto [parent_path, name] = split_path(row.change.path);
  UNIONFS_ASSIGN(ResultDirectory * parent, directory_at(parent_path));
  if (parent->is_dropped) {
    row.is_open = parent->is_open;
    return leave_file(row);
  }
  if (parent->is_linked()) {
    const std::optional<InodeNumber> base =
        row.change.below_path.empty() ? std::nullopt : std::optional(row.change.below);
    const Raised raised{ConflictClass::kEditDelete,
                        row.change.path,
                        row.change.from,
                        {base, row.change.inode, std::nullopt},
                        {},
                        parent->link_text};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
      row.is_open = resolution == Resolution::kNone;
      return leave_file(row);
    }
    UNIONFS_TRY(make_again(*parent, resolution));
  }
  if (row.change.kind == ChangeKind::kRenamed) {
    return settle_moved_file(row, *parent, name);
  }
  if (row.change.kind == ChangeKind::kAdded) {
    return settle_new_file(row, *parent, name);
  }
  return settle_changed_file(row, *parent, name);
}

// The row comes to nothing; a file that was moved stays where it was, with what ours changed
// in it.
Result<void> RebaseComparison::leave_file(RebaseRow& row) {
  drop(row);
  const Change& change = row.change;
  if (change.kind != ChangeKind::kRenamed) {
    return {};
  }
  UNIONFS_ASSIGN(const auto theirs, theirs_of(change.below_path));
  if (!theirs) {
    return {};  // nor need there be a directory that it could stay in
  }
  UNIONFS_ASSIGN(ResultDirectory * stays_in, directory_of_old(change.below_path));
  if (stays_in == nullptr || stays_in->is_dropped || !stays_in->theirs) {
    return {};
  }
  UNIONFS_ASSIGN(const SharedState before, base_.state(change.below));
  UNIONFS_ASSIGN(const SharedState after, theirs_.state(*theirs));
  return before->type() != after->type()
             ? Result<void>()
             : merge_file(row, *stays_in, split_path(change.below_path).second,
                          {change.below, change.inode, theirs}, false);
}

Result<void> RebaseComparison::place_ours(RebaseRow& row, ResultDirectory& parent,
                                          const std::string& name) {
  PlacedFile placed{&row, &parent};
  UNIONFS_ASSIGN(placed.directory, id_of(parent));
  placed.name = name;
  placed.is_whole = true;
  placed.is_copy = parent.is_beside;
  if (placed.is_copy) {
    UNIONFS_ASSIGN(const SharedState ours, ours_.state(row.change.inode));
    FileState state = *ours;
    take_privileges_of_copy(state, parent.path + "/" + name);
  }
  groups_.emplace(row.change.inode, std::move(placed));
  return {};
}

Result<std::optional<InodeNumber>> RebaseComparison::link_target(const RebaseRow& row) {
  if (const std::optional<std::string> linked_path = ours_path_of(row.change.link_of)) {
    UNIONFS_TRY(settle_row(*linked_path));  // first, so that a conflict has the file's name
  }
  UNIONFS_ASSIGN(const auto target, theirs_.find(row.change.link_of));
  if (!target) {
    return target;
  }
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(row.change.inode));
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*target));
  return ours->type() == theirs->type() ? target : std::nullopt;
}

// A name more for a file is one of what that file comes to, where theirs has it still.  So a
// conflict of its content is the one that the file has.
Result<void> RebaseComparison::place_decided(RebaseRow& row, ResultDirectory& parent,
                                             const std::string& name) {
  UNIONFS_ASSIGN(const auto target, row.change.link_of.empty()
                                        ? Result<std::optional<InodeNumber>>(std::nullopt)
                                        : link_target(row));
  if (!target) {
    return place_ours(row, parent, name);
  }
  UNIONFS_ASSIGN(const auto linked, base_.find(row.change.link_of));
  return merge_file(row, parent, name, {linked, row.change.inode, target}, false);
}

// Ours under a name of its own, and without the powers that it had.
Result<void> RebaseComparison::place_beside(RebaseRow& row, ResultDirectory& parent,
                                            const std::string& name) {
  const bool has_copy = besides_.contains(row.change.inode);
  if (has_copy) {
    return {};  // one for all names of the file
  }
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(row.change.inode));
  UNIONFS_ASSIGN(const std::string beside, beside_name(parent, name));
  UNIONFS_ASSIGN(const PlannedFileId directory, id_of(parent));
  FileState state = *ours;
  const std::string path = parent.path + "/" + beside;
  take_privileges_of_copy(state, path);
  const PlannedFileId id = builder_.add(state, content_of(row.change.inode, state));
  besides_.emplace(row.change.inode, id);
  builder_.set_name(directory, beside, id, path);
  raised_conflict().resulting_path = path;
  return {};
}

void RebaseComparison::take_privileges_of_copy(FileState& state, const std::string& path) {
  if (take_privileges(state)) {
    note("without-privileges", path, kWithoutPrivileges);
  }
}

Result<bool> RebaseComparison::decide_whole(RebaseRow& row, ResultDirectory& parent,
                                            const std::string& name, const Raised& raised) {
  UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
  const bool is_gone = !raised.files.theirs;
  if (resolution == Resolution::kOurs || (resolution == Resolution::kBoth && is_gone)) {
    if (resolution == Resolution::kBoth && raised_conflict().resulting_path.empty()) {
      raised_conflict().resulting_path = raised.path;
    }
    UNIONFS_TRY(place_decided(row, parent, name));
    return true;
  }
  if (resolution == Resolution::kBoth) {
    UNIONFS_TRY(place_beside(row, parent, name));
  }
  drop(row);
  return false;
}

// Each side's fields; `files` are all there.
Result<void> RebaseComparison::merge_file(RebaseRow& row, ResultDirectory& parent,
                                          const std::string& name, const ThreeFiles& files,
                                          bool is_followed) {
  UNIONFS_ASSIGN(const MergedFileFields merged, files_.merge(files, Resolution::kOurs));
  PlacedFile placed{&row, &parent};
  if (merged.has_conflict()) {
    const ConflictClass conflict_class = !files.base                  ? ConflictClass::kAddAdd
                                         : merged.is_content_conflict ? ConflictClass::kEditEdit
                                                                      : ConflictClass::kMetadata;
    const Raised raised{conflict_class, row.change.path, row.change.from, files, merged.fields};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution != Resolution::kOurs) {
      placed.resolution = Resolution::kTheirs;
    }
    if (resolution == Resolution::kBoth) {
      UNIONFS_TRY(place_beside(row, parent, name));
    }
  }
  UNIONFS_ASSIGN(placed.directory, id_of(parent));
  placed.name = name;
  placed.base = files.base;
  placed.theirs = files.theirs;
  if (parent.theirs) {
    UNIONFS_ASSIGN(placed.theirs_at_place, theirs_.child(*parent.theirs, name));
  }
  placed.is_followed = is_followed;
  groups_.emplace(row.change.inode, std::move(placed));
  return {};
}

Result<void> RebaseComparison::settle_changed_file(RebaseRow& row, ResultDirectory& parent,
                                                   const std::string& name) {
  const InodeNumber base = row.change.below;
  UNIONFS_ASSIGN(const auto theirs, holder_at(parent, name));
  const ThreeFiles files{base, row.change.inode, theirs};
  if (!parent.theirs) {  // the directory is made again, and that was decided
    return row.change.link_of.empty() ? place_ours(row, parent, name)
                                      : settle_new_link(row, parent, name);
  }
  if (theirs) {
    UNIONFS_ASSIGN(const SharedState before, base_.state(base));
    UNIONFS_ASSIGN(const SharedState after, theirs_.state(*theirs));
    if (before->type() == after->type()) {
      // A link in the place of what is the same is no change of that.
      const bool is_link = !row.change.link_of.empty() && !row.has_only_times();
      return is_link ? settle_new_link(row, parent, name)
                     : merge_file(row, parent, name, files, false);
    }
  }
  const Raised raised{theirs ? ConflictClass::kType : ConflictClass::kEditDelete, row.change.path,
                      "", files};
  UNIONFS_TRY(decide_whole(row, parent, name, raised));
  return {};
}

Result<void> RebaseComparison::settle_new_file(RebaseRow& row, ResultDirectory& parent,
                                               const std::string& name) {
  if (!row.change.link_of.empty()) {
    return settle_new_link(row, parent, name);
  }
  std::optional<InodeNumber> base;
  UNIONFS_ASSIGN(const auto before, base_at(parent, name));
  UNIONFS_ASSIGN(const auto stranger, stranger_at(parent, name, base));
  UNIONFS_ASSIGN(const auto holder, holder_at(parent, name));
  if (!holder && before && parent.theirs) {
    const Raised raised{
        ConflictClass::kEditDelete, row.change.path, "", {base, row.change.inode, std::nullopt}};
    UNIONFS_TRY(decide_whole(row, parent, name, raised));
    return {};
  }
  if (!stranger) {
    return place_ours(row, parent, name);
  }
  UNIONFS_ASSIGN(const bool is_equal, files_.is_ours_as_theirs(row.change.inode, *stranger));
  if (is_equal) {
    return merge_file(row, parent, name, {std::nullopt, row.change.inode, stranger}, false);
  }
  const Raised raised{base ? ConflictClass::kType : ConflictClass::kAddAdd,
                      row.change.path,
                      "",
                      {base, row.change.inode, stranger}};
  UNIONFS_TRY(decide_whole(row, parent, name, raised));
  return {};
}

// A name more for a file that was there before: it goes to what theirs has made of that file.
Result<void> RebaseComparison::settle_new_link(RebaseRow& row, ResultDirectory& parent,
                                               const std::string& name) {
  UNIONFS_ASSIGN(const auto target, link_target(row));
  std::optional<InodeNumber> before;
  if (row.change.kind == ChangeKind::kAdded) {
    UNIONFS_ASSIGN(before, base_at(parent, name));
  } else {
    before = row.change.below;
  }
  std::optional<InodeNumber> base;
  UNIONFS_ASSIGN(const auto stranger, stranger_at(parent, name, base));
  const bool has_other = stranger && stranger != target;
  UNIONFS_ASSIGN(const bool is_equal, has_other
                                          ? files_.is_ours_as_theirs(row.change.inode, *stranger)
                                          : Result<bool>(false));
  if (is_equal) {
    return merge_file(row, parent, name, {std::nullopt, row.change.inode, stranger}, false);
  }
  if (!target) {
    const Raised raised{
        ConflictClass::kEditDelete,
        row.change.path,
        "",
        {before, row.change.inode, stranger},
        {},
        "it is a name more for " + row.change.link_of + ", which the new lower has no more"};
    UNIONFS_TRY(decide_whole(row, parent, name, raised));
    return {};
  }
  UNIONFS_ASSIGN(const auto holder, holder_at(parent, name));
  const bool is_gone = before && !holder && parent.theirs;
  if (has_other || is_gone) {
    const ConflictClass conflict_class = is_gone   ? ConflictClass::kEditDelete
                                         : !before ? ConflictClass::kAddAdd
                                         : row.change.kind == ChangeKind::kAdded
                                             ? ConflictClass::kType
                                             : ConflictClass::kEditEdit;
    const Raised raised{conflict_class, row.change.path, "", {before, row.change.inode, stranger}};
    UNIONFS_TRY(decide_whole(row, parent, name, raised));
    return {};
  }
  return place_decided(row, parent, name);
}

Result<void> RebaseComparison::settle_moved_file(RebaseRow& row, ResultDirectory& parent,
                                                 const std::string& name) {
  const Change& change = row.change;
  UNIONFS_ASSIGN(std::optional<InodeNumber> theirs, theirs_of(change.below_path));
  const bool is_gone = !theirs;
  if (theirs) {
    UNIONFS_ASSIGN(const SharedState before, base_.state(change.below));
    UNIONFS_ASSIGN(const SharedState after, theirs_.state(*theirs));
    if (before->type() != after->type()) {
      theirs.reset();
    }
  }
  std::optional<InodeNumber> base;
  UNIONFS_ASSIGN(const auto stranger, stranger_at(parent, name, base));
  if (!theirs) {
    UNIONFS_ASSIGN(const bool is_same, stranger ? files_.is_ours_as_theirs(change.inode, *stranger)
                                                : Result<bool>(false));
    if (is_same) {
      drop(row);  // theirs has done the same
      return {};
    }
    const bool may_be_same_move = stranger && is_gone;
    UNIONFS_ASSIGN(const bool is_same_move, may_be_same_move
                                                ? files_.is_theirs_as_base(change.below, *stranger)
                                                : Result<bool>(false));
    if (is_same_move) {
      return merge_file(row, parent, name, {change.below, change.inode, stranger}, false);
    }
    if (parent.is_decided) {
      return place_ours(row, parent, name);
    }
    const Raised raised{ConflictClass::kRenameDelete,
                        change.path,
                        change.below_path,
                        {change.below, change.inode, stranger}};
    if (stranger) {
      // Two things are in the way; one conflict names the rename.
      note("in-the-way", change.path, "the new lower has something else under this name");
    }
    UNIONFS_TRY(decide_whole(row, parent, name, raised));
    return {};
  }
  if (stranger) {
    const Raised raised{ConflictClass::kRenameAdd,
                        change.path,
                        change.below_path,
                        {change.below, change.inode, stranger}};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution == Resolution::kBoth) {
      UNIONFS_ASSIGN(const std::string beside, beside_name(parent, name));
      raised_conflict().resulting_path = parent.path + "/" + beside;
      UNIONFS_TRY(remove_old_name(change.below_path));
      return merge_file(row, parent, beside, {change.below, change.inode, theirs}, true);
    }
    if (resolution != Resolution::kOurs) {
      row.is_open = resolution == Resolution::kNone;
      return leave_file(row);
    }
  }
  UNIONFS_TRY(merge_file(row, parent, name, {change.below, change.inode, theirs}, true));
  return remove_old_name(change.below_path);
}

}  // namespace unionfs
