// SPDX-License-Identifier: BSD-3-Clause
//
// What means something only together, and is decided as a whole.
#include <algorithm>

#include "fsparse/entered_directories.h"
#include "overlay/rebase/comparison.h"

namespace unionfs {

std::vector<std::string> RebaseComparison::paths_of(const RebaseUnit& unit) const {
  std::vector<std::string> paths{unit.path};
  if (!unit.is_tree) {
    for (const char* suffix : kDatabaseSuffixes) {
      paths.push_back(unit.path + suffix);
    }
  }
  return paths;
}

bool RebaseComparison::is_in_unit(const RebaseUnit& unit, const std::string& path) const {
  return std::ranges::any_of(paths_of(unit), [&](const std::string& top) {
    return path == top || (unit.is_tree && is_at_or_below(path, top));
  });
}

// The nearest rename at or above the path, as far up as `top`; nullptr if there is none.
const RebaseRow* RebaseComparison::rename_above(const std::string& path,
                                                const std::string& top) const {
  std::string at = path;
  while (true) {
    const auto row = rows_.find(at);
    if (row != rows_.end() && row->second.change.kind == ChangeKind::kRenamed) {
      return &row->second;
    }
    if (at == top) {
      return nullptr;
    }
    at = split_path(at).first;
  }
}

// The unit stays as theirs has it, and so does what ours had moved out of it.  What ours had moved
// into one of these from elsewhere stays where it was, with what ours changed in it.
void RebaseComparison::give_up_unit(const RebaseUnit& unit, bool is_open) {
  std::vector<std::string> tops = paths_of(unit);
  for (const auto& [from, to] : moved_) {
    if (is_in_unit(unit, from)) {
      tops.push_back(to);
    }
  }
  std::set<std::string> lost;
  for (const std::string& top : tops) {
    for (const std::string& path : rows_in(top, true)) {
      RebaseRow& row = rows_.at(path);
      const RebaseRow* const moved = rename_above(path, top);
      if (moved == nullptr || is_in_unit(unit, moved->change.below_path)) {
        lost.insert(path);
      } else if (moved == &row) {
        row.is_given_up = true;
        row.is_open = is_open;
      }
    }
  }
  for (const std::string& path : lost) {
    const auto row = rows_.find(path);
    if (row->second.change.kind == ChangeKind::kRenamed) {
      moved_.erase(row->second.change.below_path);
    }
    drop(row->second);
    rows_.erase(row);
  }
  std::erase_if(deletions_, [&](const auto& entry) { return is_in_unit(unit, entry.first); });
}

Result<bool> RebaseComparison::has_theirs_changed(const RebaseUnit& unit) {
  for (const std::string& path : paths_of(unit)) {
    UNIONFS_ASSIGN(const auto base, base_.find(path));
    UNIONFS_ASSIGN(const auto theirs, theirs_.find(path));
    if (base.has_value() != theirs.has_value()) {
      return true;
    }
    UNIONFS_ASSIGN(const bool is_same,
                   base ? files_.is_tree_as_base(path, *base, *theirs, {}) : Result<bool>(true));
    if (!is_same) {
      return true;
    }
  }
  return false;
}

// Whether both sides have come to the same.
Result<bool> RebaseComparison::is_unit_same(const RebaseUnit& unit) {
  EnteredDirectories entered(ours_.volume());
  std::vector<std::string> left = paths_of(unit);
  while (!left.empty()) {
    const std::string path = std::move(left.back());
    left.pop_back();
    UNIONFS_ASSIGN(const auto ours, ours_.find(path));
    UNIONFS_ASSIGN(const auto theirs, theirs_.find(path));
    if (ours.has_value() != theirs.has_value()) {
      return false;
    }
    UNIONFS_ASSIGN(const bool is_equal,
                   ours ? files_.is_ours_as_theirs(*ours, *theirs) : Result<bool>(true));
    if (!is_equal) {
      return false;
    }
    UNIONFS_ASSIGN(const bool is_directory, ours ? ours_.is_directory(*ours) : Result<bool>(false));
    if (is_directory) {
      UNIONFS_TRY(entered.enter(*ours));
      for (const auto& [side, inode] : {std::pair{&ours_, *ours}, std::pair{&theirs_, *theirs}}) {
        UNIONFS_ASSIGN(const LowerNames::Names* names, side->names_of(inode));
        for (const auto& [name, child] : *names) {
          left.push_back(path + "/" + name);
        }
      }
    }
  }
  return true;
}

Result<void> RebaseComparison::settle_units() {
  std::map<std::string, RebaseUnit> units;
  UnitFinder finder({&base_, &ours_, &theirs_});
  std::vector<std::string> paths;
  for (const auto& [path, row] : rows_) {
    if (row.is_unchanged) {
      continue;
    }
    paths.push_back(path);
    if (!row.change.below_path.empty()) {
      paths.push_back(row.change.below_path);
    }
  }
  for (const auto& [path, row] : deletions_) {
    paths.push_back(path);
  }
  for (const std::string& path : paths) {
    UNIONFS_ASSIGN(const std::optional<RebaseUnit> unit, finder.unit_of(path));
    if (unit) {
      units.emplace(unit->path, *unit);
    }
  }
  for (const auto& [path, unit] : units) {
    UNIONFS_TRY(settle_unit(unit));
  }
  return {};
}

Result<Resolution> RebaseComparison::decide_unit(const RebaseUnit& unit) {
  ThreeFiles files;
  UNIONFS_ASSIGN(files.base, base_.find(unit.path));
  UNIONFS_ASSIGN(files.ours, ours_.find(unit.path));
  UNIONFS_ASSIGN(files.theirs, theirs_.find(unit.path));
  UNIONFS_ASSIGN(const Resolution resolution,
                 raise({ConflictClass::kUnit, unit.path, "", files, {}, unit.text}));
  if (resolution != Resolution::kBoth) {
    return resolution;
  }
  // A second one under another name is of no use to its program.
  raised_conflict().resolution = Resolution::kNone;
  raised_conflict().decided_by.clear();
  raised_conflict().text += "; it can be ours or theirs, not both";
  return Resolution::kNone;
}

Result<void> RebaseComparison::settle_unit(const RebaseUnit& unit) {
  UNIONFS_ASSIGN(const bool has_changed, has_theirs_changed(unit));
  if (!has_changed) {
    return {};
  }
  UNIONFS_ASSIGN(const bool is_same, is_unit_same(unit));
  UNIONFS_ASSIGN(const Resolution resolution,
                 is_same ? Result<Resolution>(Resolution::kOurs) : decide_unit(unit));
  if (resolution != Resolution::kOurs) {
    give_up_unit(unit, resolution == Resolution::kNone);
    return {};
  }
  for (const std::string& path : paths_of(unit)) {
    if (is_same) {
      for (const std::string& row_path : rows_in(path, unit.is_tree)) {
        drop(rows_.at(row_path));
      }
    }
    forget_rows(path, unit.is_tree);
    if (!is_same) {
      UNIONFS_TRY(unit.is_tree ? take_tree(path, true, true) : take_name(path, true));
    }
  }
  return {};
}

}  // namespace unionfs
