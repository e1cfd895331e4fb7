// SPDX-License-Identifier: BSD-3-Clause
//
// Names that a layer alone has no more, or may have no more; and units.
#include <algorithm>

#include "overlay/rebase/alone_comparison.h"

namespace unionfs {

Result<void> AloneComparison::settle_deletions() {
  for (auto& [path, directory] : directories_) {
    if (!directory.is_dropped && directory.theirs) {
      UNIONFS_TRY(settle_names_of(directory));
    }
  }
  return {};
}

// Whiteouts say what is gone; a directory that is opaque, or of another place, hides whatever it
// does not name.
Result<void> AloneComparison::settle_names_of(AloneDirectory& directory) {
  std::set<std::string> shown;
  for (const NamedEntry& entry : directory.entries) {
    if (entry.kind == EntryKind::kWhiteout && !directory.has_stayed) {
      continue;
    }
    if (entry.kind == EntryKind::kWhiteout) {
      UNIONFS_ASSIGN(const auto holder, holder_of(directory, entry.name));
      UNIONFS_TRY(holder ? settle_deletion(directory, entry.name, *holder) : Result<void>());
    }
    shown.insert(entry.name);
  }
  if (directory.has_stayed && !directory.is_opaque) {
    return {};
  }
  UNIONFS_ASSIGN(const bool are_proven, are_old_names_proven(directory));
  UNIONFS_ASSIGN(const LowerNames::Names* names, theirs_.names_of(*directory.theirs));
  std::vector<std::string> hidden;
  for (const auto& [name, inode] : *names) {
    if (shown.contains(name) || is_in_unit(directory.path + "/" + name)) {
      continue;
    }
    if (are_proven) {
      UNIONFS_TRY(settle_deletion(directory, name, inode));
    } else {
      hidden.push_back(name);
    }
  }
  return hidden.empty() ? Result<void>() : settle_hidden(directory, hidden);
}

// Whether the old lower had what theirs has there: it is that directory, or ours has made it anew
// in the place of one that theirs has still.
Result<bool> AloneComparison::are_old_names_proven(const AloneDirectory& directory) {
  UNIONFS_ASSIGN(const bool is_same_directory, are_names_proven(directory));
  if (is_same_directory || directory.path.empty()) {
    return is_same_directory;
  }
  UNIONFS_ASSIGN(const bool is_recorded, layer_.is_as_recorded(*directory.theirs));
  UNIONFS_ASSIGN(const bool is_gone,
                 is_recorded ? has_gone(*directory.theirs) : Result<bool>(false));
  return is_gone ? are_names_proven(directories_.at(split_path(directory.path).first))
                 : Result<bool>(false);
}

Result<void> AloneComparison::settle_deletion(AloneDirectory& directory, const std::string& name,
                                              InodeNumber holder) {
  const std::string path = directory.path + "/" + name;
  if (is_in_unit(path)) {
    report_.dropped.push_back(path);
    return {};
  }
  UNIONFS_ASSIGN(const bool are_proven, are_old_names_proven(directory));
  UNIONFS_ASSIGN(const bool is_gone, are_proven ? is_tree_gone(holder, true) : Result<bool>(false));
  if (!is_gone) {
    UNIONFS_ASSIGN(const Resolution resolution,
                   raise({path, std::nullopt, holder,
                          "the layer deleted it; whether the new lower has changed it cannot be "
                          "told"}));
    if (resolution != Resolution::kOurs) {
      report_.dropped.push_back(path);
      return {};
    }
  }
  return remove(directory, name);
}

Result<void> AloneComparison::settle_hidden(AloneDirectory& directory,
                                            const std::vector<std::string>& names) {
  UNIONFS_ASSIGN(const Resolution resolution,
                 raise({directory.path, directory.ours, directory.theirs,
                        fmt::format("the layer has deleted {} and {} names more in it, or the new "
                                    "lower has made them",
                                    quoted_name(names.front()), names.size() - 1)}));
  if (resolution != Resolution::kOurs) {
    return {};
  }
  for (const std::string& name : names) {
    UNIONFS_TRY(remove(directory, name));
  }
  return {};
}

// Unless ours lies there: beside something, or as a new link.
Result<void> AloneComparison::remove(AloneDirectory& directory, const std::string& name) {
  UNIONFS_ASSIGN(const PlannedFileId id, id_of(directory));
  if (builder_.name(id, name) == nullptr) {
    builder_.set_name(id, name, std::nullopt, directory.result_path + "/" + name);
    report_.applied.push_back(directory.path + "/" + name);
  }
  return {};
}

// Which names of a unit were the old lower's cannot be told, so it is theirs where they have one.
Result<void> AloneComparison::settle_units() {
  UnitFinder finder({&ours_, &theirs_});
  std::map<std::string, RebaseUnit> units;
  const auto look_at = [&](const std::string& path) -> Result<void> {
    UNIONFS_ASSIGN(const std::optional<RebaseUnit> unit, finder.unit_of(path));
    if (unit) {
      units.emplace(unit->path, *unit);
    }
    return {};
  };
  for (const auto& [path, directory] : directories_) {
    for (const NamedEntry& entry : directory.entries) {
      if (entry.kind != EntryKind::kFallthru) {
        UNIONFS_TRY(look_at(path + "/" + entry.name));
      }
    }
  }
  for (const auto& [path, unit] : units) {
    UNIONFS_ASSIGN(const bool is_theirs, must_be_theirs(unit));
    if (!is_theirs) {
      continue;
    }
    UNIONFS_ASSIGN(const auto theirs, theirs_.find(path));
    UNIONFS_TRY(raise({path, std::nullopt, theirs, unit.text, {}, false}));
    in_units_.emplace(path, unit.is_tree);
    if (!unit.is_tree) {
      for (const char* suffix : kDatabaseSuffixes) {
        in_units_.emplace(path + suffix, false);
      }
    }
  }
  return {};
}

// Not where theirs has nothing of it, or all that it has is proven and the rest is new.
Result<bool> AloneComparison::must_be_theirs(const RebaseUnit& unit) {
  if (unit.is_tree) {
    UNIONFS_ASSIGN(const auto theirs, theirs_.find(unit.path));
    return theirs.has_value();
  }
  std::vector<std::string> paths = {unit.path};
  for (const char* suffix : kDatabaseSuffixes) {
    paths.push_back(unit.path + suffix);
  }
  bool has_any = false;
  bool are_proven = true;
  for (const std::string& path : paths) {
    UNIONFS_ASSIGN(const auto theirs, theirs_.find(path));
    UNIONFS_ASSIGN(const auto ours, ours_.find(path));
    has_any = has_any || theirs;
    if (theirs) {
      // Also where ours has another file, which got the number.
      UNIONFS_ASSIGN(const bool is_proven, ours == theirs && layer_.may_be_of_old(*ours)
                                               ? layer_.is_as_recorded(*ours)
                                               : Result<bool>(false));
      UNIONFS_ASSIGN(const bool is_known, is_proven ? know(*ours) : Result<bool>(false));
      are_proven = are_proven && is_known;
    } else {
      UNIONFS_ASSIGN(const bool is_new, ours ? layer_.is_new(*ours) : Result<bool>(true));
      are_proven = are_proven && is_new;
    }
  }
  return has_any && !are_proven;
}

bool AloneComparison::is_in_unit(const std::string& path) const {
  if (in_units_.contains(path)) {
    return true;
  }
  for (std::string above = split_path(path).first; !above.empty();
       above = split_path(above).first) {
    if (const auto unit = in_units_.find(above); unit != in_units_.end() && unit->second) {
      return true;
    }
  }
  return false;
}

}  // namespace unionfs
