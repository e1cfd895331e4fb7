// SPDX-License-Identifier: BSD-3-Clause
//
// Names of a layer alone that lead to no directory.
#include <algorithm>

#include "overlay/rebase/alone_comparison.h"
#include "overlay/rebase/beside.h"

namespace unionfs {

Result<void> AloneComparison::settle_file(const AloneFile& file) {
  if (file.parent->is_dropped || is_in_unit(file.path)) {
    drop(file);
    return {};
  }
  UNIONFS_ASSIGN(const auto holder, holder_of(*file.parent, file.name));
  UNIONFS_ASSIGN(const bool is_known, know(file.inode));
  if (!is_known) {
    UNIONFS_ASSIGN(const AloneContent content, layer_.content_of(file.inode));
    const bool has_content = content != AloneContent::kUnknown;
    UNIONFS_TRY(raise({file.path,
                       file.inode,
                       holder,
                       has_content ? kForeignAttributes
                                   : "the layer has only a part of it, or nothing but its metadata",
                       {},
                       false}));
    drop(file);
    return {};
  }
  return holder ? settle_against(file, *holder) : settle_missing(file);
}

// Theirs has nothing of that name.
Result<void> AloneComparison::settle_missing(const AloneFile& file) {
  const AloneDirectory& parent = *file.parent;
  UNIONFS_ASSIGN(const bool are_proven, are_names_proven(parent));
  UNIONFS_ASSIGN(const bool is_new, layer_.is_new(file.inode));
  if (!is_new && !parent.is_decided) {
    // Another name of a file that theirs has not changed: ours has moved or linked it.
    UNIONFS_ASSIGN(const bool is_recorded, layer_.is_as_recorded(file.inode));
    if (!is_recorded || (parent.theirs && !are_proven)) {
      UNIONFS_ASSIGN(const Resolution resolution,
                     raise({file.path, file.inode, std::nullopt,
                            "the old lower had it, under this or another name, and the new one "
                            "has no such name"}));
      return place_by(resolution, file, std::nullopt);
    }
  } else {
    perhaps_not_new_ += parent.theirs && !are_proven ? 1 : 0;
  }
  return place(file, std::nullopt);
}

Result<void> AloneComparison::settle_against(const AloneFile& file, InodeNumber holder) {
  std::vector<std::string> fields;
  UNIONFS_ASSIGN(const bool is_equal, is_same(file.inode, holder, fields));
  UNIONFS_ASSIGN(const bool is_in_place, is_proven_in_place(file.inode, holder));
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(file.inode));
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(holder));
  if (is_equal && (!is_in_place || ours->modified == theirs->modified)) {
    groups_[file.inode].push_back({file, holder, true});
    return {};
  }
  if (is_in_place) {
    return place(file, holder);
  }
  UNIONFS_ASSIGN(const bool are_proven, are_names_proven(*file.parent));
  UNIONFS_ASSIGN(const bool is_new, layer_.is_new(file.inode));
  UNIONFS_ASSIGN(const bool is_followed,
                 is_new ? Result<bool>(true) : layer_.is_as_recorded(file.inode));
  const bool may_have_replaced = are_proven && is_followed;
  UNIONFS_ASSIGN(const bool has_replaced,
                 may_have_replaced ? is_tree_gone(holder, false) : Result<bool>(false));
  if (has_replaced) {
    return place(file, holder);
  }
  UNIONFS_ASSIGN(const Resolution resolution,
                 raise({file.path, file.inode, holder,
                        "whether the new lower has changed it cannot be told", fields}));
  return place_by(resolution, file, holder);
}

Result<void> AloneComparison::place(const AloneFile& file, std::optional<InodeNumber> holder) {
  UNIONFS_ASSIGN(const SharedState state, ours_.state(file.inode));
  has_owners_ |= state->user_id != 0 || state->group_id != 0;
  FileState copy = *state;
  const bool loses_privileges = file.parent->is_beside && take_privileges(copy);
  groups_[file.inode].push_back({file, holder, false, loses_privileges});
  return {};
}

Result<void> AloneComparison::place_by(Resolution resolution, const AloneFile& file,
                                       std::optional<InodeNumber> holder) {
  if (resolution == Resolution::kOurs || (resolution == Resolution::kBoth && !holder)) {
    return place(file, holder);
  }
  if (resolution == Resolution::kBoth) {
    UNIONFS_TRY(place_beside(file));
  }
  drop(file);
  return {};
}

// A copy of its own, one for all names of the file.
Result<void> AloneComparison::place_beside(const AloneFile& file) {
  if (besides_.contains(file.inode)) {
    return {};
  }
  UNIONFS_ASSIGN(const std::string beside, beside_name(*file.parent, file.name));
  UNIONFS_ASSIGN(const PlannedFileId directory, id_of(*file.parent));
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(file.inode));
  FileState state = *ours;
  const std::string path = file.parent->result_path + "/" + beside;
  if (take_privileges(state)) {
    note("without-privileges", path, kWithoutPrivileges);
  }
  UNIONFS_ASSIGN(const auto content, planned_content(file.inode));
  const PlannedFileId id = builder_.add(std::move(state), content);
  besides_.emplace(file.inode, id);
  builder_.set_name(directory, beside, id, path);
  report_.conflicts.back().resulting_path = path;
  return {};
}

void AloneComparison::drop(const AloneFile& file) {
  dropped_.insert(file.inode);
  report_.dropped.push_back(file.path);
}

Result<std::optional<PlannedContent>> AloneComparison::planned_content(InodeNumber ours) {
  UNIONFS_ASSIGN(const SharedState state, ours_.state(ours));
  if (state->type() == ext2::kModeFifo || state->type() == ext2::kModeSocket) {
    return std::optional<PlannedContent>();
  }
  UNIONFS_ASSIGN(const AloneContent content, layer_.content_of(ours));
  // Whether a target lies in the inode is seen by a count of blocks that has foreign ones, too.
  UNIONFS_ASSIGN(const bool is_counted_apart, layer_.has_foreign_attributes(ours));
  const bool is_over = content == AloneContent::kFromBothOf ||
                       (is_counted_apart && state->type() == ext2::kModeSymlink);
  return std::optional(PlannedContent{is_over ? layer_.over_new() : &layer_.upper(), ours});
}

Result<void> AloneComparison::settle_groups() {
  for (const auto& [ours, outcomes] : groups_) {
    // A copy that loses what the others keep is a file of its own.
    std::vector<Outcome> kept;
    std::vector<Outcome> copies;
    for (const Outcome& outcome : outcomes) {
      (outcome.loses_privileges ? copies : kept).push_back(outcome);
    }
    for (const std::vector<Outcome>* names : {&kept, &copies}) {
      UNIONFS_TRY(names->empty() ? Result<void>() : settle_group(ours, *names));
    }
  }
  return {};
}

// What the names of a group lead to; they lose privileges all or none.
Result<FileState> AloneComparison::state_of(InodeNumber ours,
                                            const std::vector<Outcome>& outcomes) {
  UNIONFS_ASSIGN(const SharedState known, ours_.state(ours));
  FileState state = *known;
  for (const Outcome& outcome : outcomes) {
    if (outcome.loses_privileges) {
      take_privileges(state);
      note("without-privileges", outcome.file.parent->result_path + "/" + outcome.file.name,
           kWithoutPrivileges);
    }
  }
  return state;
}

// The inode of theirs that is changed in place: all its names lead to this file, or it is equal.
Result<std::optional<InodeNumber>> AloneComparison::existing_for(
    InodeNumber ours, const std::vector<Outcome>& outcomes) {
  UNIONFS_ASSIGN(const SharedState state, ours_.state(ours));
  std::map<InodeNumber, uint32_t> names;
  for (const Outcome& outcome : outcomes) {
    if (outcome.is_same) {
      return outcome.holder;
    }
    if (outcome.holder) {
      ++names[*outcome.holder];
    }
  }
  bool has_further_names = false;
  for (const auto& [holder, count] : names) {
    UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(holder));
    if (theirs->type() == state->type() && count >= theirs->links_count && !builder_.has(holder)) {
      return std::optional(holder);
    }
    has_further_names |= count < theirs->links_count && !theirs->is_directory();
  }
  if (has_further_names) {
    note("links-split", outcomes.front().file.path,
         "the new lower has further names for it, which keep the new lower's file");
  }
  return std::optional<InodeNumber>();
}

Result<void> AloneComparison::settle_group(InodeNumber ours, const std::vector<Outcome>& outcomes) {
  const auto is_same = [](const Outcome& outcome) { return outcome.is_same; };
  if (std::all_of(outcomes.begin(), outcomes.end(), is_same)) {
    for (const Outcome& outcome : outcomes) {
      report_.dropped.push_back(outcome.file.path);
    }
    return {};
  }
  const bool is_unchanged = std::any_of(outcomes.begin(), outcomes.end(), is_same);
  UNIONFS_ASSIGN(const auto existing, existing_for(ours, outcomes));
  UNIONFS_ASSIGN(const FileState state, state_of(ours, outcomes));
  UNIONFS_ASSIGN(const auto content, planned_content(ours));
  PlannedFileId id = 0;
  if (existing) {
    UNIONFS_ASSIGN(id, builder_.existing(*existing));
    if (!is_unchanged) {
      builder_.file(id).state = state;
      builder_.file(id).content = content;
    }
  } else {
    id = builder_.add(state, content);
  }
  for (const Outcome& outcome : outcomes) {
    UNIONFS_ASSIGN(const PlannedFileId directory, id_of(*outcome.file.parent));
    builder_.set_name(directory, outcome.file.name, id,
                      outcome.file.parent->result_path + "/" + outcome.file.name);
    (outcome.is_same ? report_.dropped : report_.applied).push_back(outcome.file.path);
  }
  return {};
}

}  // namespace unionfs
