// SPDX-License-Identifier: BSD-3-Clause
//
// Where a directory of a layer alone is in the result.
#include <algorithm>

#include "overlay/rebase/alone_comparison.h"
#include "overlay/rebase/beside.h"

namespace unionfs {

Result<void> AloneComparison::settle_directory(AloneDirectory& directory) {
  directory.result_path = directory.path;
  if (directory.path.empty()) {
    directory.has_stayed = true;
    directory.theirs = kRootDirectory;
    directory.id = kPlannedRoot;
    return merge_directory(directory);
  }
  const auto [parent_path, name] = split_path(directory.path);
  AloneDirectory& parent = directories_.at(parent_path);
  if (parent.is_dropped || is_in_unit(directory.path)) {
    drop(directory);
    return {};
  }
  UNIONFS_ASSIGN(const auto holder, holder_of(parent, name));
  UNIONFS_ASSIGN(const bool is_proven, is_proven_in_place(directory.ours, holder));
  directory.has_stayed = is_proven || (parent.has_stayed && !directory.is_opaque &&
                                       layer_.may_be_of_old(directory.ours));
  UNIONFS_ASSIGN(const bool is_known, know(directory.ours));
  const bool is_made_again = !parent.theirs && parent.is_decided;
  if (directory.has_fallthrus && !is_made_again && !(directory.has_stayed && parent.theirs)) {
    return refuse(directory, holder,
                  "it was moved, or many names were deleted in it, and some of its names are the "
                  "old lower's");
  }
  UNIONFS_ASSIGN(const bool is_there, holder ? theirs_.is_directory(*holder) : Result<bool>(false));
  if (is_there) {
    directory.theirs = holder;
    return merge_directory(directory);
  }
  if (!is_known) {
    return refuse(directory, holder, kForeignAttributes);
  }
  return directory.has_stayed ? settle_stayed(directory, parent, holder)
                              : settle_own(directory, parent, holder);
}

// What cannot be ours.
Result<void> AloneComparison::refuse(AloneDirectory& directory, std::optional<InodeNumber> holder,
                                     const std::string& text) {
  UNIONFS_TRY(raise({directory.path, directory.ours, holder, text, {}, false}));
  drop(directory);
  return {};
}

// It is where the old lower had it, and theirs has none there.
Result<void> AloneComparison::settle_stayed(AloneDirectory& directory, AloneDirectory& parent,
                                            std::optional<InodeNumber> holder) {
  if (!parent.theirs) {
    directory.is_decided = parent.is_decided;
    report_.applied.push_back(directory.path);
    return make_directory(directory, parent, split_path(directory.path).second);
  }
  return place_in_conflict(directory, parent, holder,
                           "the layer changed something in it, and the new lower has no such "
                           "directory");
}

// All names in it are the layer's, and theirs has no directory there.
Result<void> AloneComparison::settle_own(AloneDirectory& directory, AloneDirectory& parent,
                                         std::optional<InodeNumber> holder) {
  UNIONFS_ASSIGN(const bool are_proven, are_names_proven(parent));
  const bool may_have_replaced = holder && are_proven;
  UNIONFS_ASSIGN(const bool has_replaced,
                 may_have_replaced ? is_tree_gone(*holder, false) : Result<bool>(false));
  if (holder && !has_replaced) {
    return place_in_conflict(directory, parent, holder,
                             "whether the new lower has changed it cannot be told");
  }
  UNIONFS_ASSIGN(const bool is_recorded, layer_.is_as_recorded(directory.ours));
  UNIONFS_ASSIGN(const bool is_new, layer_.is_new(directory.ours));
  const bool is_moved = !is_new && !parent.is_decided;
  if (is_moved && !(is_recorded && (are_proven || !parent.theirs))) {
    return place_in_conflict(directory, parent, holder,
                             "the old lower had it, here or elsewhere, and the new one has no "
                             "such name");
  }
  perhaps_not_new_ += parent.theirs && !are_proven ? 1 : 0;
  report_.applied.push_back(directory.path);
  return make_directory(directory, parent, split_path(directory.path).second);
}

Result<void> AloneComparison::place_in_conflict(AloneDirectory& directory, AloneDirectory& parent,
                                                std::optional<InodeNumber> holder,
                                                const std::string& text) {
  std::string link;
  if (holder) {
    UNIONFS_ASSIGN(const SharedState state, theirs_.state(*holder));
    link = state->type() == ext2::kModeSymlink
               ? "in the new lower it is a symlink to " + state->target
               : "";
  }
  UNIONFS_ASSIGN(const Resolution resolution, raise({directory.path, directory.ours, holder,
                                                     link.empty() ? text : text + "; " + link}));
  if (resolution == Resolution::kNone || resolution == Resolution::kTheirs) {
    drop(directory);
    return {};
  }
  directory.is_decided = true;
  report_.applied.push_back(directory.path);
  std::string name = split_path(directory.path).second;
  if (resolution == Resolution::kBoth && holder) {
    UNIONFS_ASSIGN(name, beside_name(parent, name));
    report_.conflicts.back().resulting_path = parent.result_path + "/" + name;
  } else if (!link.empty()) {
    note("link-replaced", directory.path, link);
  }
  return make_directory(directory, parent, name);
}

Result<void> AloneComparison::make_directory(AloneDirectory& directory, AloneDirectory& parent,
                                             const std::string& name) {
  UNIONFS_ASSIGN(const SharedState state, ours_.state(directory.ours));
  UNIONFS_ASSIGN(const PlannedFileId parent_id, id_of(parent));
  has_owners_ |= state->user_id != 0 || state->group_id != 0;
  directory.id = builder_.add(*state, std::nullopt);
  directory.is_beside = parent.is_beside || name != split_path(directory.path).second;
  directory.result_path = parent.result_path + "/" + name;
  builder_.set_name(parent_id, name, *directory.id, directory.result_path);
  return {};
}

// The fields of a directory that theirs has, too.
Result<void> AloneComparison::merge_directory(AloneDirectory& directory) {
  const std::string path = directory.path.empty() ? "/" : directory.path;
  UNIONFS_ASSIGN(const bool is_known, know(directory.ours));
  if (!is_known) {
    UNIONFS_TRY(
        raise({directory.path, directory.ours, directory.theirs, kForeignAttributes, {}, false}));
    return {};
  }
  std::vector<std::string> fields;
  UNIONFS_ASSIGN(const bool is_equal, is_same(directory.ours, *directory.theirs, fields));
  UNIONFS_ASSIGN(const bool is_proven, are_old_names_proven(directory));
  UNIONFS_ASSIGN(const SharedState ours, ours_.state(directory.ours));
  UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*directory.theirs));
  if (is_equal && (!is_proven || ours->modified == theirs->modified)) {
    return {};
  }
  if (!is_proven) {
    UNIONFS_ASSIGN(const Resolution resolution,
                   raise({directory.path, directory.ours, directory.theirs,
                          "which side has changed it cannot be told", fields}));
    if (resolution != Resolution::kOurs) {
      report_.dropped.push_back(path);
      return {};
    }
  }
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(directory));
  FileState& state = builder_.file(id).state;
  state = *ours;
  state.modified = is_proven ? ours->modified : theirs->modified;
  has_owners_ |= state.user_id != 0 || state.group_id != 0;
  report_.applied.push_back(path);
  return {};
}

Result<PlannedFileId> AloneComparison::id_of(AloneDirectory& directory) {
  if (!directory.id) {
    UNIONFS_ASSIGN(directory.id, builder_.existing(*directory.theirs));
  }
  return *directory.id;
}

Result<std::string> AloneComparison::beside_name(AloneDirectory& parent, const std::string& name) {
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(parent));
  for (unsigned number = 0; number < kNamesBeside; ++number) {
    std::string candidate = name_beside(name, number);
    UNIONFS_ASSIGN(const auto theirs, holder_of(parent, candidate));
    const bool is_ours =
        std::any_of(parent.entries.begin(), parent.entries.end(),
                    [&candidate](const NamedEntry& entry) { return entry.name == candidate; });
    if (!theirs && !is_ours && builder_.name(id, candidate) == nullptr) {
      return candidate;
    }
  }
  return invalid("{}/{}: no name is left to lay ours beside it", parent.result_path, name);
}

void AloneComparison::drop(AloneDirectory& directory) {
  directory.is_dropped = true;
  report_.dropped.push_back(directory.path);
}

// Those of which a name has changed have the time of the layer, unless theirs is later and may
// have changed a name, too.
Result<void> AloneComparison::settle_directory_times() {
  std::set<PlannedFileId> changed;
  for (const auto& [key, name] : builder_.plan().names) {
    const PlannedFile& directory = builder_.file(key.directory);
    UNIONFS_ASSIGN(const auto before, directory.existing
                                          ? theirs_.child(*directory.existing, key.name)
                                          : Result<std::optional<InodeNumber>>(std::nullopt));
    const auto now = name.file ? builder_.file(*name.file).existing : std::nullopt;
    if (!name.file || !before || before != now) {
      changed.insert(key.directory);
    }
  }
  for (const auto& [path, directory] : directories_) {
    if (!directory.theirs || !directory.id || !changed.contains(*directory.id)) {
      continue;
    }
    UNIONFS_ASSIGN(const bool is_proven, are_old_names_proven(directory));
    UNIONFS_ASSIGN(const SharedState ours, ours_.state(directory.ours));
    UNIONFS_ASSIGN(const SharedState theirs, theirs_.state(*directory.theirs));
    FileState& state = builder_.file(*directory.id).state;
    state.modified = is_proven ? ours->modified : std::max(ours->modified, theirs->modified);
    state.changed = std::max(ours->changed, theirs->changed);
  }
  return {};
}

}  // namespace unionfs
