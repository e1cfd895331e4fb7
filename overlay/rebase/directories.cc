// SPDX-License-Identifier: BSD-3-Clause
//
// Where a directory of ours is in the result.
#include <algorithm>
#include <cassert>

#include "overlay/rebase/beside.h"
#include "overlay/rebase/comparison.h"

namespace unionfs {
Result<ResultDirectory*> RebaseComparison::directory_at(const std::string& path) {
  if (const auto known = directories_.find(path); known != directories_.end()) {
    return &known->second;
  }
  const auto row = rows_.find(path);
  // A row that was dropped before was of the times only.
  RebaseRow* const change = row == rows_.end() || row->second.is_dropped ? nullptr : &row->second;
  if (path.empty()) {
    ResultDirectory& root = directories_[path];
    root.ours = kRootDirectory;
    root.base_path = "";
    root.base = kRootDirectory;
    root.theirs = kRootDirectory;
    root.id = kPlannedRoot;
    if (change != nullptr) {
      UNIONFS_TRY(merge_directory(root, *change, true));
    }
    return &root;
  }
  if (change != nullptr && change->is_given_up) {
    change->is_done = true;
    ResultDirectory& directory = directories_[path];
    directory.ours_path = path;
    directory.ours = change->change.inode;
    directory.is_settling = true;
    UNIONFS_TRY(leave_directory(directory, *change));
    directory.is_settling = false;
    return &directory;
  }
  const auto [parent_path, name] = split_path(path);
  UNIONFS_ASSIGN(ResultDirectory * parent, directory_at(parent_path));
  UNIONFS_ASSIGN(const std::optional<InodeNumber> inode, ours_.child(parent->ours, name));
  if (!inode) {
    return corrupt("{}: no directory \"{}\"", ours_.volume().name(), path);
  }
  ResultDirectory& directory = directories_[path];
  directory.path = path;
  directory.ours_path = path;
  directory.ours = *inode;
  directory.is_settling = true;
  UNIONFS_TRY(settle_directory(directory, *parent, name, change));
  directory.is_settling = false;
  return &directory;
}

Result<void> RebaseComparison::settle_directory(ResultDirectory& directory, ResultDirectory& parent,
                                                const std::string& name, RebaseRow* row) {
  if (row != nullptr) {
    row->is_done = true;
  }
  if (parent.is_dropped) {
    directory.is_dropped = true;
    directory.is_open = parent.is_open;
    if (row != nullptr && row->change.kind == ChangeKind::kRenamed) {
      row->is_open = parent.is_open;
      return leave_directory(directory, *row);
    }
    if (row != nullptr) {
      drop(*row);
    }
    return {};
  }
  if (row != nullptr && row->change.kind == ChangeKind::kRenamed) {
    return settle_moved_directory(directory, parent, name, *row);
  }
  directory.is_alike = parent.is_alike;
  if (row != nullptr && row->change.kind == ChangeKind::kAdded) {
    return settle_new_directory(directory, parent, name, *row);
  }
  return settle_kept_directory(directory, parent, name, row);
}

Result<void> RebaseComparison::settle_new_directory(ResultDirectory& directory,
                                                    ResultDirectory& parent,
                                                    const std::string& name, RebaseRow& row) {
  if (parent.is_linked()) {
    const Raised raised{ConflictClass::kEditDelete,
                        directory.path,
                        "",
                        {std::nullopt, directory.ours, std::nullopt},
                        {},
                        parent.link_text};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
      directory.is_dropped = true;
      directory.is_open = resolution == Resolution::kNone;
      drop(row);
      return {};
    }
    UNIONFS_TRY(make_again(parent, resolution));
  }
  std::optional<InodeNumber> base;
  UNIONFS_ASSIGN(const auto stranger, stranger_at(parent, name, base));
  if (stranger) {
    UNIONFS_ASSIGN(const bool is_directory, theirs_.is_directory(*stranger));
    UNIONFS_ASSIGN(const bool was_directory,
                   base ? base_.is_directory(*base) : Result<bool>(false));
    if (is_directory && !was_directory) {
      // Two directories become one, also where both came in a file's place.
      directory.theirs = stranger;
      return merge_directory(directory, row, false);
    }
  }
  UNIONFS_ASSIGN(const auto holder, holder_at(parent, name));
  std::string result_name = name;
  if (stranger || (base && !holder && parent.theirs)) {
    const ConflictClass conflict_class = !stranger ? ConflictClass::kEditDelete
                                         : base    ? ConflictClass::kType
                                                   : ConflictClass::kAddAdd;
    const Raised raised{conflict_class, directory.path, "", {base, directory.ours, stranger}};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
      directory.is_dropped = true;
      directory.is_open = resolution == Resolution::kNone;
      drop(row);
      return {};
    }
    if (resolution == Resolution::kBoth) {
      if (stranger) {
        UNIONFS_ASSIGN(result_name, beside_name(parent, name));
      }
      raised_conflict().resulting_path = parent.path + "/" + result_name;
    }
  }
  report_.applied.push_back(directory.path);
  return make_directory(directory, parent, result_name);
}

Result<void> RebaseComparison::settle_moved_directory(ResultDirectory& directory,
                                                      ResultDirectory& parent,
                                                      const std::string& name, RebaseRow& row) {
  const Change& change = row.change;
  directory.base_path = change.below_path;
  directory.base = change.below;
  UNIONFS_ASSIGN(std::optional<InodeNumber> theirs, theirs_of(change.below_path));
  UNIONFS_ASSIGN(const bool is_there, theirs ? theirs_.is_directory(*theirs) : Result<bool>(false));
  std::optional<InodeNumber> base;
  UNIONFS_ASSIGN(const auto stranger, stranger_at(parent, name, base));
  if (!is_there) {
    // Whether theirs has moved it there, too.  Another directory of that name is not the same
    // thing, so all of it is compared.
    UNIONFS_ASSIGN(const bool is_same_move,
                   stranger && !theirs
                       ? files_.is_tree_as_base(change.below_path, change.below, *stranger, moved_)
                       : Result<bool>(false));
    UNIONFS_ASSIGN(directory.is_alike,
                   stranger && !theirs && !is_same_move
                       ? files_.is_ours_tree_as_theirs(directory.ours, *stranger)
                       : Result<bool>(false));
    if (is_same_move || directory.is_alike) {
      directory.theirs = stranger;
      moved_alike_.emplace(change.below_path, *stranger);
      row.change.metadata.clear();
      return merge_directory(directory, row, true);
    }
    const Raised raised{ConflictClass::kRenameDelete,
                        directory.path,
                        change.below_path,
                        {change.below, directory.ours, theirs ? theirs : stranger}};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
      directory.is_dropped = true;
      directory.is_open = resolution == Resolution::kNone;
      drop(row);
      return {};
    }
    report_.applied.push_back(directory.path);
    directory.is_decided = true;
    std::string result_name = name;
    if (resolution == Resolution::kBoth && stranger) {
      UNIONFS_ASSIGN(result_name, beside_name(parent, name));
      raised_conflict().resulting_path = parent.path + "/" + result_name;
    }
    UNIONFS_TRY(make_directory(directory, parent, result_name));
    return take_tree(directory.ours_path, true, false);
  }
  std::string result_name = name;
  if (stranger || parent.is_linked()) {
    const Raised raised{parent.is_linked() ? ConflictClass::kEditDelete : ConflictClass::kRenameAdd,
                        directory.path,
                        change.below_path,
                        {change.below, directory.ours, stranger},
                        {},
                        parent.link_text};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
      row.is_open = resolution == Resolution::kNone;
      return leave_directory(directory, row);
    }
    if (parent.is_linked()) {
      UNIONFS_TRY(make_again(parent, resolution));
    } else if (resolution == Resolution::kBoth) {
      UNIONFS_ASSIGN(result_name, beside_name(parent, name));
      raised_conflict().resulting_path = parent.path + "/" + result_name;
    }
  }
  directory.theirs = theirs;
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(directory));
  UNIONFS_ASSIGN(const PlannedFileId parent_id, id_of(parent));
  directory.path = parent.path + "/" + result_name;
  builder_.set_name(parent_id, result_name, id, directory.path);
  UNIONFS_TRY(remove_old_name(change.below_path));
  // Whether the new lower changed anything in it is not looked at: it may be large.
  note("followed", directory.path,
       "what the new lower has at " + change.below_path + " is here, with its changes");
  return merge_directory(directory, row, true);
}

// A rename comes to nothing: the directory stays where it was, and what ours changed in it comes
// there.
Result<void> RebaseComparison::leave_directory(ResultDirectory& directory, RebaseRow& row) {
  drop(row);
  directory.is_dropped = true;
  directory.is_open = row.is_open;
  directory.base_path = row.change.below_path;
  directory.base = row.change.below;
  UNIONFS_ASSIGN(const auto theirs, theirs_of(row.change.below_path));
  UNIONFS_ASSIGN(const bool is_there, theirs ? theirs_.is_directory(*theirs) : Result<bool>(false));
  if (!is_there) {
    return {};  // nor need there be a directory that it could stay in
  }
  UNIONFS_ASSIGN(const ResultDirectory* stays_in, directory_of_old(row.change.below_path));
  if (stays_in == nullptr || stays_in->is_dropped) {
    return {};
  }
  directory.is_dropped = false;
  directory.theirs = theirs;
  directory.path = stays_in->path + "/" + split_path(row.change.below_path).second;
  return merge_directory(directory, row, true);
}

// Neither new nor moved: theirs' directory is where it was, or theirs has none.
Result<void> RebaseComparison::settle_kept_directory(ResultDirectory& directory,
                                                     ResultDirectory& parent,
                                                     const std::string& name, RebaseRow* row) {
  if (parent.base_path) {
    directory.base_path = *parent.base_path + "/" + name;
    UNIONFS_ASSIGN(directory.base, base_.find(*directory.base_path));
  }
  if (parent.is_linked()) {
    directory.is_behind_link = true;
    directory.link_text = parent.link_text;
    return {};
  }
  UNIONFS_ASSIGN(const auto holder, parent.theirs
                                        ? theirs_.child(*parent.theirs, name)
                                        : Result<std::optional<InodeNumber>>(std::nullopt));
  UNIONFS_ASSIGN(const bool is_there, holder ? theirs_.is_directory(*holder) : Result<bool>(false));
  if (is_there) {
    directory.theirs = holder;
    return row == nullptr ? Result<void>() : merge_directory(directory, *row, true);
  }
  if (!parent.theirs) {
    // The directory above is made again, and this one with it.
    directory.is_decided = parent.is_decided;
    return make_directory(directory, parent, name);
  }
  if (holder) {
    UNIONFS_ASSIGN(const SharedState state, theirs_.state(*holder));
    if (state->type() == ext2::kModeSymlink) {
      directory.is_behind_link = true;
      directory.link_text =
          "in the new lower " + directory.path + " is a symlink to " + state->target;
      if (row == nullptr) {
        return {};
      }
    }
  }
  const Raised raised{
      ConflictClass::kEditDelete, directory.path, "", {directory.base, directory.ours, holder}, {},
      directory.link_text};
  UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row != nullptr && row->is_forced));
  if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
    directory.is_dropped = !directory.is_behind_link;
    directory.is_open = resolution == Resolution::kNone;
    if (row != nullptr) {
      drop(*row);
    }
    return {};
  }
  report_.applied.push_back(directory.path);
  return make_again(directory, resolution);
}

Result<void> RebaseComparison::make_directory(ResultDirectory& directory, ResultDirectory& parent,
                                              const std::string& name) {
  UNIONFS_ASSIGN(const SharedState state, ours_.state(directory.ours));
  UNIONFS_ASSIGN(const PlannedFileId parent_id, id_of(parent));
  directory.id = builder_.add(*state, std::nullopt);
  directory.theirs.reset();
  directory.is_behind_link = false;
  directory.is_beside = parent.is_beside || name != split_path(directory.ours_path).second;
  directory.path = parent.path + "/" + name;
  directory.are_times_decided = true;
  builder_.set_name(parent_id, name, *directory.id, directory.path);
  return {};
}

// With the metadata of ours and only ours' names.
Result<void> RebaseComparison::make_again(ResultDirectory& directory, Resolution resolution) {
  if (directory.id || directory.theirs) {
    return {};
  }
  directory.is_decided = true;
  const auto [parent_path, name] = split_path(directory.ours_path);
  UNIONFS_ASSIGN(ResultDirectory * parent, directory_at(parent_path));
  UNIONFS_TRY(make_again(*parent, resolution));
  UNIONFS_ASSIGN(const auto holder, holder_at(*parent, name));
  if (holder && resolution == Resolution::kBoth) {
    UNIONFS_ASSIGN(const std::string beside, beside_name(*parent, name));
    raised_conflict().resulting_path = parent->path + "/" + beside;
    return make_directory(directory, *parent, beside);
  }
  if (directory.is_behind_link) {
    note("link-replaced", directory.path, directory.link_text);
  }
  return make_directory(directory, *parent, name);
}

// A directory's own fields.
Result<void> RebaseComparison::merge_directory(ResultDirectory& directory, RebaseRow& row,
                                               bool has_base) {
  row.is_done = true;
  const ThreeFiles files{has_base ? directory.base : std::nullopt, directory.ours,
                         directory.theirs};
  UNIONFS_ASSIGN(MergedFileFields merged, files_.merge(files, Resolution::kOurs));
  // The types are the same, so without a base only fields are left.
  if (!merged.fields.empty()) {
    const Raised raised{has_base ? ConflictClass::kMetadata : ConflictClass::kAddAdd,
                        directory.path, row.change.from, files, merged.fields};
    UNIONFS_ASSIGN(const Resolution resolution, raise(raised, row.is_forced));
    if (resolution != Resolution::kOurs) {
      UNIONFS_ASSIGN(merged, files_.merge(files, Resolution::kTheirs));
    }
  }
  const bool has_times =
      !directory.is_alike && std::find(row.change.metadata.begin(), row.change.metadata.end(),
                                       "times") != row.change.metadata.end();
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*directory.theirs));
  FileTime modified = theirs->modified;
  if (has_times) {
    UNIONFS_ASSIGN(modified, files.base ? modified_time_of(directory, false)
                                        : Result<FileTime>(merged.state.modified));
    directory.are_times_decided = true;
  }
  if (merged.is_as_theirs && modified == theirs->modified) {
    if (row.change.kind == ChangeKind::kRenamed && !row.is_dropped) {
      report_.applied.push_back(directory.path);
    } else {
      report_.dropped.push_back(directory.path.empty() ? "/" : directory.path);
    }
    return {};
  }
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(directory));
  FileState& state = builder_.file(id).state;
  state = merged.state;
  state.modified = modified;
  (merged.is_as_ours ? report_.applied : report_.merged)
      .push_back(directory.path.empty() ? "/" : directory.path);
  return {};
}

Result<PlannedFileId> RebaseComparison::id_of(ResultDirectory& directory) {
  if (!directory.id) {
    assert(directory.theirs);
    UNIONFS_ASSIGN(directory.id, builder_.existing(*directory.theirs));
  }
  return *directory.id;
}

}  // namespace unionfs
