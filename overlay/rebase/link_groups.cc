// SPDX-License-Identifier: BSD-3-Clause
//
// Names that share an inode: which of theirs' inodes they become, or a new one.
#include <algorithm>

#include "overlay/rebase/beside.h"
#include "overlay/rebase/comparison.h"

namespace unionfs {
namespace {

bool is_equal_result(const FileOutcome& a, const FileOutcome& b) {
  const FileState& one = a.merged.state;
  const FileState& other = b.merged.state;
  const bool is_same_content = a.merged.is_content_as_ours == b.merged.is_content_as_ours &&
                               (a.merged.is_content_as_ours || a.theirs == b.theirs);
  return one.mode == other.mode && one.user_id == other.user_id && one.group_id == other.group_id &&
         one.user_flags == other.user_flags && one.attributes == other.attributes &&
         is_same_content;
}

}  // namespace

Result<void> RebaseComparison::settle_groups() {
  UNIONFS_TRY(find_lost_names());
  count_named();
  while (!groups_.empty()) {
    const InodeNumber ours = groups_.begin()->first;
    std::vector<FileOutcome> outcomes;
    for (auto placed = groups_.begin(); placed != groups_.end() && placed->first == ours;
         placed = groups_.erase(placed)) {
      UNIONFS_ASSIGN(MergedFileFields merged, merged_of(ours, placed->second));
      outcomes.push_back({std::move(placed->second), std::move(merged)});
    }
    UNIONFS_TRY(settle_group(ours, outcomes));
  }
  return {};
}

// What the name becomes: not kept from the time when it was placed, because that takes room.
Result<MergedFileFields> RebaseComparison::merged_of(InodeNumber ours, const PlacedFile& placed) {
  if (!placed.is_whole) {
    return files_.merge({placed.base, ours, placed.theirs}, placed.resolution);
  }
  MergedFileFields merged;
  UNIONFS_ASSIGN(const SharedState state, ours_.state(ours));
  merged.state = *state;
  if (placed.is_copy) {
    take_privileges(merged.state);
  }
  merged.is_content_ours = true;
  merged.is_content_as_ours = true;
  merged.is_as_theirs = false;
  return merged;
}

// Names with one result stay one file.
Result<void> RebaseComparison::settle_group(InodeNumber ours, std::vector<FileOutcome>& outcomes) {
  std::vector<FileOutcome*> left;
  for (FileOutcome& outcome : outcomes) {
    left.push_back(&outcome);
  }
  for (bool is_first = true; !left.empty(); is_first = false) {
    std::vector<FileOutcome*> equal;
    std::vector<FileOutcome*> others;
    for (FileOutcome* outcome : left) {
      (is_equal_result(*left.front(), *outcome) ? equal : others).push_back(outcome);
    }
    if (!is_first) {
      note("links-split", equal.front()->path(),
           "it was the same file as " + outcomes.front().path() + ", and is not after the rebase");
    }
    UNIONFS_TRY(settle_equal(ours, equal));
    left = std::move(others);
  }
  return {};
}

void RebaseComparison::count_named() {
  for (const auto& [path, row] : rows_) {
    if (groups_.contains(row.change.inode)) {
      ++named_[row.change.inode];
    }
  }
}

Result<void> RebaseComparison::find_lost_names() {
  const Plan& plan = builder_.plan();
  for (const auto& [key, name] : plan.names) {
    const std::optional<InodeNumber> directory = plan.files[key.directory].existing;
    UNIONFS_ASSIGN(const auto theirs, directory ? theirs_.child(*directory, key.name)
                                                : Result<std::optional<InodeNumber>>(std::nullopt));
    if (theirs && (!name.file || plan.files[*name.file].existing != theirs)) {
      lost_names_[*theirs].insert(key);
    }
  }
  return {};
}

// The inode of theirs that may be changed in place: each of its names gets this result or goes,
// or it does not change at all.  A name that only ours has for it is none of these.
Result<std::optional<InodeNumber>> RebaseComparison::existing_for(
    const std::vector<FileOutcome*>& outcomes) {
  std::map<InodeNumber, std::set<PlannedNameKey>> names;
  for (const FileOutcome* outcome : outcomes) {
    if (!outcome->theirs) {
      continue;
    }
    std::set<PlannedNameKey>& known = names[*outcome->theirs];
    if (const auto lost = lost_names_.find(*outcome->theirs); lost != lost_names_.end()) {
      known.insert(lost->second.begin(), lost->second.end());
    }
    if (outcome->theirs_at_place == outcome->theirs) {
      known.insert({outcome->directory, outcome->name});
    }
  }
  for (const FileOutcome* outcome : outcomes) {
    if (!outcome->theirs) {
      continue;
    }
    UNIONFS_ASSIGN(const SharedState state, theirs_.state(*outcome->theirs));
    const bool has_same_type = state->type() == outcome->merged.state.type();
    const bool is_unchanged = outcome->merged.is_as_theirs && outcome->merged.are_times_theirs;
    // A file that another group has planned already is no longer as theirs has it.
    const bool is_free = !builder_.has(*outcome->theirs);
    if (has_same_type &&
        (is_unchanged || (is_free && names[*outcome->theirs].size() >= state->links_count))) {
      return outcome->theirs;
    }
  }
  return std::optional<InodeNumber>();
}

std::optional<PlannedContent> RebaseComparison::content_of(InodeNumber ours,
                                                           const FileState& state) const {
  const bool has_content =
      state.type() != ext2::kModeFifo && state.type() != ext2::kModeSocket && !state.is_directory();
  return has_content ? std::optional(PlannedContent{&ours_.volume(), ours, nullptr}) : std::nullopt;
}

Result<PlannedFileId> RebaseComparison::planned_file(InodeNumber ours, const FileOutcome& outcome,
                                                     std::optional<InodeNumber> existing) {
  const MergedFileFields& merged = outcome.merged;
  if (existing) {
    UNIONFS_ASSIGN(const PlannedFileId id, builder_.existing(*existing));
    if (!merged.is_as_theirs || !merged.are_times_theirs) {
      builder_.file(id).state = merged.state;
    }
    if (merged.is_content_ours) {
      builder_.file(id).content = content_of(ours, merged.state);
    }
    return id;
  }
  if (merged.is_content_ours || !outcome.theirs) {
    return builder_.add(merged.state, content_of(ours, merged.state));
  }
  std::optional<PlannedContent> content = content_of(ours, merged.state);
  if (content) {
    content = PlannedContent{&theirs_.volume(), *outcome.theirs, nullptr};
  }
  return builder_.add(merged.state, content);
}

Result<void> RebaseComparison::settle_equal(InodeNumber ours, std::vector<FileOutcome*>& outcomes) {
  UNIONFS_ASSIGN(const auto existing, existing_for(outcomes));
  const FileOutcome* first = outcomes.front();
  for (const FileOutcome* outcome : outcomes) {
    if (existing && outcome->theirs == existing) {
      first = outcome;
      break;
    }
  }
  const MergedFileFields& merged = first->merged;
  const bool is_unchanged = existing && merged.is_as_theirs && merged.are_times_theirs;
  const bool are_all_in_place =
      std::all_of(outcomes.begin(), outcomes.end(), [&](const FileOutcome* outcome) {
        return outcome->theirs_at_place && outcome->theirs_at_place == existing;
      });
  if (is_unchanged && are_all_in_place) {
    for (const FileOutcome* outcome : outcomes) {
      if (!outcome->row->is_unchanged) {
        report_.dropped.push_back(outcome->path());
      }
    }
    return {};
  }
  if (!existing && first->theirs) {
    note("links-split", first->path(),
         "the new lower has further names for it, which keep the new lower's file");
  } else if (!existing) {
    UNIONFS_ASSIGN(const SharedState state, ours_.state(ours));
    if (first->is_whole && state->links_count > named_[ours]) {
      note("links-split", first->path(),
           "it has further names in ours, which are as in the new lower");
    }
  }
  const bool meets_several =
      std::any_of(outcomes.begin(), outcomes.end(), [first](const FileOutcome* outcome) {
        return outcome->theirs && first->theirs && outcome->theirs != first->theirs;
      });
  if (meets_several) {
    note("links-joined", first->path(), "in the new lower its names are several files");
  }
  UNIONFS_ASSIGN(const PlannedFileId id, planned_file(ours, *first, existing));
  for (const FileOutcome* outcome : outcomes) {
    const std::string& path = outcome->path();
    if (!existing || outcome->theirs_at_place != existing) {
      builder_.set_name(outcome->directory, outcome->name, id, outcome->result_path());
    } else if (const PlannedName* planned = builder_.name(outcome->directory, outcome->name);
               planned != nullptr && !planned->file) {
      builder_.set_name(outcome->directory, outcome->name, id, outcome->result_path());
    } else {
      staying_names_.push_back({{outcome->directory, outcome->name}, {id, outcome->result_path()}});
    }
    const MergedFileFields& fields = outcome->merged;
    if (outcome->is_followed && !fields.is_as_ours) {
      note("followed", path, "what the new lower has of it is here, with its changes");
    }
    const bool is_ours = outcome->is_whole || fields.is_as_ours;
    if (!outcome->row->is_unchanged) {
      (is_ours ? report_.applied : report_.merged).push_back(path);
    }
  }
  return {};
}

}  // namespace unionfs
