// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/without_old.h"

#include <algorithm>

#include "overlay/rebase/alone_comparison.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {

Result<PlannedRebase> plan_without_old(LayerAlone& layer, const RebasePolicy& policy) {
  if (!policy.ours_trees.empty() || policy.ids == IdPolicy::kNames) {
    return invalid("{}: trees of ours, and owners by name, need the old lower",
                   layer.upper().name());
  }
  SideTree ours(layer.upper());
  SideTree over(layer.over_new() != nullptr ? *layer.over_new() : layer.theirs());
  SideTree theirs(layer.theirs());
  UNIONFS_ASSIGN(PlanBuilder builder, PlanBuilder::make(theirs));
  return AloneComparison(layer, policy, std::move(builder), ours, over, theirs).run();
}

AloneComparison::AloneComparison(LayerAlone& layer, const RebasePolicy& policy, PlanBuilder builder,
                                 SideTree& ours, SideTree& over, SideTree& theirs)
    : layer_(layer),
      policy_(policy),
      ours_(ours),
      over_(over),
      theirs_(theirs),
      own_files_(theirs, ours, theirs),
      over_files_(theirs, over, theirs),
      builder_(std::move(builder)) {}

Result<PlannedRebase> AloneComparison::run() {
  UNIONFS_TRY(check_reserved_inodes(layer_.upper(), layer_.layer().tables()));
  UNIONFS_TRY(read_names());
  UNIONFS_TRY(settle_units());
  // By path, so a directory comes before what lies in it.
  for (auto& [path, directory] : directories_) {
    UNIONFS_TRY(settle_directory(directory));
  }
  for (const AloneFile& file : files_) {
    UNIONFS_TRY(settle_file(file));
  }
  UNIONFS_TRY(settle_groups());
  UNIONFS_TRY(settle_deletions());
  UNIONFS_TRY(settle_directory_times());
  UNIONFS_TRY(settle_superblock());
  add_notes();
  report_.finish();
  report_.bytes_compared = own_files_.bytes_compared() + over_files_.bytes_compared();
  return PlannedRebase{std::move(builder_.plan()), std::move(report_)};
}

Result<void> AloneComparison::read_names() {
  const auto on_directory = [this](const LayerDirectory& walked) -> Result<void> {
    AloneDirectory& directory = directories_[walked.path];
    directory.path = walked.path;
    directory.ours = walked.record.number();
    directory.is_opaque = walked.record.is_opaque();
    directory.entries = walked.entries;
    for (const NamedEntry& entry : walked.entries) {
      directory.has_fallthrus |= entry.kind == EntryKind::kFallthru;
    }
    return {};
  };
  const auto on_name = [this](const LayerDirectory& walked,
                              const NamedEntry& entry) -> Result<void> {
    if (entry.kind != EntryKind::kReal) {
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(layer_.upper(), entry.inode));
    if (!layer_.is_own(entry.inode) || !record.has_known_type() ||
        record.file_type() != entry.file_type) {
      return corrupt("{}: directory inode {}: {} leads to inode {}, which is not what it says",
                     layer_.upper().name(), walked.record.number(), quoted_name(entry.name),
                     entry.inode);
    }
    if (!record.is_directory()) {
      files_.push_back(
          {&directories_.at(walked.path), walked.path + "/" + entry.name, entry.name, entry.inode});
    }
    return {};
  };
  UNIONFS_TRY(walk_layer(layer_.upper(), {on_directory, on_name}));
  std::sort(files_.begin(), files_.end(),
            [](const AloneFile& a, const AloneFile& b) { return a.path < b.path; });
  return {};
}

Result<Resolution> AloneComparison::raise(const Raised& raised) {
  const auto state_in = [](SideTree& tree,
                           std::optional<InodeNumber> inode) -> Result<std::optional<FileState>> {
    if (!inode) {
      return std::optional<FileState>();
    }
    UNIONFS_ASSIGN(const SharedState state, tree.state(*inode));
    return std::optional<FileState>(*state);
  };
  Conflict conflict;
  conflict.conflict_class = ConflictClass::kNeedsOld;
  conflict.path = raised.path;
  conflict.fields = raised.fields;
  conflict.text = raised.text;
  if (raised.ours) {
    UNIONFS_TRY(know(*raised.ours));
  }
  UNIONFS_ASSIGN(conflict.ours, state_in(ours_, raised.ours));
  UNIONFS_ASSIGN(conflict.theirs, state_in(theirs_, raised.theirs));
  Decision decision = decide(policy_, raised.path.empty() ? "/" : raised.path, "");
  if (!raised.can_be_ours) {
    conflict.text += "; it can only be theirs, unless the old lower is found again";
    if (decision.resolution != Resolution::kTheirs) {
      decision = {};
    }
  }
  conflict.resolution = decision.resolution;
  conflict.decided_by = decision.decided_by;
  report_.conflicts.push_back(std::move(conflict));
  if (decision.resolution != Resolution::kNone && !remedy_of(raised.path).empty()) {
    note("remedy", raised.path, remedy_of(raised.path));
  }
  return decision.resolution;
}

void AloneComparison::note(std::string kind, std::string path, std::string text) {
  report_.notes.push_back({std::move(kind), std::move(path), std::move(text)});
}

void AloneComparison::add_notes() {
  if (perhaps_not_new_ > 0) {
    note("perhaps-not-new", "",
         fmt::format("{} names of the layer are not in the new lower; whether the old one had "
                     "them, and the new one has deleted them, cannot be told",
                     perhaps_not_new_));
  }
  if (has_owners_) {
    note("owner-numbers", "",
         "the numbers of owners and groups are kept; what the old lower called them cannot be "
         "told");
  }
}

Result<bool> AloneComparison::know(InodeNumber ours) {
  if (const auto known = known_.find(ours); known != known_.end()) {
    return known->second;
  }
  UNIONFS_ASSIGN(AloneState found, layer_.state_of(ours));
  UNIONFS_ASSIGN(const AloneContent content, layer_.content_of(ours));
  const bool is_known = found.has_all_attributes && content != AloneContent::kUnknown;
  const auto state = std::make_shared<const FileState>(std::move(found.state));
  over_.know_state(ours, state);
  ours_.know_state(ours, state);
  known_.emplace(ours, is_known);
  return is_known;
}

// Not where ours has another file, which got the number.
Result<bool> AloneComparison::is_proven_in_place(InodeNumber ours,
                                                 std::optional<InodeNumber> theirs) {
  if (theirs != ours) {
    return false;
  }
  UNIONFS_ASSIGN(const bool is_new, layer_.is_new(ours));
  return is_new ? Result<bool>(false) : layer_.is_as_recorded(ours);
}

Result<bool> AloneComparison::are_names_proven(const AloneDirectory& directory) {
  return is_proven_in_place(directory.ours, directory.theirs);
}

Result<std::optional<InodeNumber>> AloneComparison::holder_of(const AloneDirectory& parent,
                                                              const std::string& name) {
  return parent.theirs ? theirs_.child(*parent.theirs, name)
                       : Result<std::optional<InodeNumber>>(std::nullopt);
}

// Whether ours and theirs are equal, but for times.
Result<bool> AloneComparison::is_same(InodeNumber ours, InodeNumber theirs,
                                      std::vector<std::string>& fields) {
  UNIONFS_ASSIGN(const AloneContent content, layer_.content_of(ours));
  FileMerge& files = content == AloneContent::kFromBothOf ? over_files_ : own_files_;
  UNIONFS_ASSIGN(MergedFileFields merged,
                 files.merge({std::nullopt, ours, theirs}, Resolution::kOurs));
  fields = std::move(merged.fields);
  if (merged.is_content_conflict) {
    fields.insert(fields.begin(), "content");
  }
  return fields.empty();
}

// What the old lower had under the number is whited out, or ours has another file there.
Result<bool> AloneComparison::has_gone(InodeNumber inode) {
  if (layer_.is_whited_out(inode)) {
    return true;
  }
  return layer_.is_own(inode) ? layer_.is_new(inode) : Result<bool>(false);
}

// One that has not gone has another name now, and must have come there.
Result<bool> AloneComparison::is_tree_gone(InodeNumber theirs, bool may_have_moved) {
  std::set<InodeNumber> seen;
  std::vector<InodeNumber> queue = {theirs};
  while (!queue.empty()) {
    const InodeNumber inode = queue.back();
    queue.pop_back();
    if (!seen.insert(inode).second) {
      continue;
    }
    UNIONFS_ASSIGN(const bool is_recorded, layer_.is_as_recorded(inode));
    if (!is_recorded) {
      return false;
    }
    UNIONFS_ASSIGN(const bool is_directory, theirs_.is_directory(inode));
    UNIONFS_ASSIGN(const bool is_gone, has_gone(inode));
    if (!is_gone) {
      const bool has_moved =
          may_have_moved && !is_directory && groups_.contains(inode) && !dropped_.contains(inode);
      if (!has_moved) {
        return false;
      }
      continue;
    }
    if (is_directory) {
      UNIONFS_ASSIGN(const LowerNames::Names* names, theirs_.names_of(inode));
      for (const auto& [name, child] : *names) {
        queue.push_back(child);
      }
    }
  }
  return true;
}

}  // namespace unionfs
