// SPDX-License-Identifier: BSD-3-Clause
//
// What is in a place, and where that place is on the other sides.
#include "overlay/rebase/beside.h"
#include "overlay/rebase/comparison.h"

namespace unionfs {

bool RebaseComparison::waits_for_directory(const std::string& ours_path) const {
  for (std::string above = split_path(ours_path).first; !above.empty();
       above = split_path(above).first) {
    const auto known = directories_.find(above);
    if (known != directories_.end() && known->second.is_settling) {
      return true;
    }
  }
  return false;
}

Result<std::optional<InodeNumber>> RebaseComparison::holder_at(ResultDirectory& parent,
                                                               const std::string& name) {
  if (!parent.theirs) {
    return std::optional<InodeNumber>();
  }
  UNIONFS_ASSIGN(const auto holder, theirs_.child(*parent.theirs, name));
  if (!holder || !parent.base_path) {
    return holder;
  }
  const std::string base_path = *parent.base_path + "/" + name;
  const auto moved = moved_.find(base_path);
  if (moved == moved_.end()) {
    return holder;
  }
  // What went into a directory that comes here waits for it: a rename of each needs the other's
  // place, and both are taken to happen.
  if (!waits_for_directory(moved->second)) {
    UNIONFS_TRY(settle_row(moved->second));
  }
  const RebaseRow& row = rows_.at(moved->second);
  if (row.is_dropped && !row.is_open) {
    return holder;
  }
  UNIONFS_ASSIGN(const SharedState base, base_.state(row.change.below));
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*holder));
  if (base->type() != theirs->type()) {
    return holder;  // that is another thing, and does not follow
  }
  vacated_.emplace(base_path, parent.ours_path + "/" + name);
  return std::optional<InodeNumber>();
}

// Whether both have moved a directory above is known once its row is settled; one that is being
// settled, or waits for such, counts as not.
Result<std::optional<InodeNumber>> RebaseComparison::theirs_of(const std::string& base_path) {
  for (std::string above = split_path(base_path).first; !above.empty();
       above = split_path(above).first) {
    const auto moved = moved_.find(above);
    if (moved != moved_.end() && !waits_for_directory(moved->second + "/")) {
      UNIONFS_TRY(settle_row(moved->second));
    }
  }
  for (std::string above = base_path; !above.empty(); above = split_path(above).first) {
    const auto alike = moved_alike_.find(above);
    if (alike != moved_alike_.end()) {
      return theirs_.find_below(alike->second, base_path.substr(above.size()));
    }
  }
  return theirs_.find(base_path);
}

Result<std::optional<InodeNumber>> RebaseComparison::base_at(const ResultDirectory& parent,
                                                             const std::string& name) {
  if (!parent.base || moved_.contains(*parent.base_path + "/" + name)) {
    return std::optional<InodeNumber>();
  }
  return base_.child(*parent.base, name);
}

Result<std::optional<InodeNumber>> RebaseComparison::stranger_at(ResultDirectory& parent,
                                                                 const std::string& name,
                                                                 std::optional<InodeNumber>& base) {
  UNIONFS_ASSIGN(base, base_at(parent, name));
  if (base) {
    // Ours has put something in its place, so it is not deleted besides.
    if (const auto gone = deletions_.find(*parent.base_path + "/" + name);
        gone != deletions_.end()) {
      gone->second.is_done = true;
    }
  }
  UNIONFS_ASSIGN(const auto holder, holder_at(parent, name));
  if (!holder || !base) {
    return holder;
  }
  UNIONFS_ASSIGN(const bool is_as_base,
                 files_.is_tree_as_base(*parent.base_path + "/" + name, *base, *holder, moved_));
  return is_as_base ? std::optional<InodeNumber>() : holder;
}

std::optional<std::string> RebaseComparison::ours_path_of(const std::string& base_path) const {
  if (base_path.empty()) {
    return "";
  }
  if (const auto moved = moved_.find(base_path); moved != moved_.end()) {
    return moved->second;
  }
  if (deletions_.contains(base_path)) {
    return std::nullopt;
  }
  const auto [parent, name] = split_path(base_path);
  const std::optional<std::string> above = ours_path_of(parent);
  return above ? std::optional(*above + "/" + name) : std::nullopt;
}

std::optional<std::string> RebaseComparison::base_path_of(const std::string& ours_path) const {
  if (ours_path.empty()) {
    return "";
  }
  if (const auto row = rows_.find(ours_path); row != rows_.end()) {
    const Change& change = row->second.change;
    return change.kind == ChangeKind::kAdded ? std::nullopt : std::optional(change.below_path);
  }
  const auto [parent, name] = split_path(ours_path);
  const std::optional<std::string> above = base_path_of(parent);
  return above ? std::optional(*above + "/" + name) : std::nullopt;
}

Result<ResultDirectory*> RebaseComparison::directory_of_old(const std::string& base_path) {
  const std::optional<std::string> above = ours_path_of(split_path(base_path).first);
  return above ? directory_at(*above) : Result<ResultDirectory*>(nullptr);
}

Result<void> RebaseComparison::visit_directory_of(const std::string& base_path) {
  const std::string above = split_path(base_path).first;
  UNIONFS_ASSIGN(const auto theirs, theirs_of(above));
  UNIONFS_ASSIGN(const bool is_directory,
                 theirs ? theirs_.is_directory(*theirs) : Result<bool>(false));
  if (const auto ours = ours_path_of(above); ours && is_directory) {
    UNIONFS_TRY(directory_at(*ours));
  }
  return {};
}

// Of something that was moved: theirs has it there still.
Result<void> RebaseComparison::remove_old_name(const std::string& base_path) {
  const auto [parent_path, name] = split_path(base_path);
  UNIONFS_ASSIGN(const std::optional<InodeNumber> parent, theirs_of(parent_path));
  if (!parent) {
    return {};
  }
  UNIONFS_ASSIGN(const PlannedFileId id, builder_.existing(*parent));
  if (builder_.name(id, name) == nullptr) {
    const std::optional<std::string> above = ours_path_of(parent_path);
    builder_.set_name(id, name, std::nullopt, above.value_or(parent_path) + "/" + name);
    if (above) {
      // Its times are those of a directory of which a name has changed.
      UNIONFS_ASSIGN(ResultDirectory * directory, directory_at(*above));
      if (directory->theirs == parent) {
        UNIONFS_TRY(id_of(*directory));
      }
    }
  }
  return {};
}

Result<std::string> RebaseComparison::beside_name(ResultDirectory& parent,
                                                  const std::string& name) {
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(parent));
  for (unsigned number = 0; number < kNamesBeside; ++number) {
    std::string candidate = name_beside(name, number);
    UNIONFS_ASSIGN(const auto ours, ours_.child(parent.ours, candidate));
    UNIONFS_ASSIGN(const auto theirs, parent.theirs
                                          ? theirs_.child(*parent.theirs, candidate)
                                          : Result<std::optional<InodeNumber>>(std::nullopt));
    if (!ours && !theirs && builder_.name(id, candidate) == nullptr) {
      return candidate;
    }
  }
  return invalid("{}/{}: no name is left to lay ours beside it", parent.path, name);
}

}  // namespace unionfs
