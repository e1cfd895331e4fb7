// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/import/tree_plan.h"

#include <optional>
#include <set>
#include <utility>

#include "overlay/import/copied_inodes.h"
#include "overlay/rebase/plan_builder.h"
#include "overlay/rebase/side_tree.h"
#include "overlay/tree/file_reader.h"

namespace unionfs {
namespace {

constexpr std::string_view kLostAndFound = "lost+found";

// A name of the tree that is no directory.
struct FilePlace {
  PlannedFileId directory = kPlannedRoot;
  std::string name;
  std::string path;
  std::optional<InodeNumber> below;  // what the lower has there
};

// A directory of the tree, and what it becomes.
struct DirectoryPlace {
  TreeFileId id = kTreeRoot;
  PlannedFileId planned = kPlannedRoot;
  std::string path;                  // "" for the root
  std::optional<InodeNumber> below;  // the lower's directory that it becomes one with
};

// What became of a file that the lower has, compared with the tree's.
struct FileDifference {
  bool in_metadata = false;
  bool in_content = false;

  bool is_equal() const { return !in_metadata && !in_content; }
};

// The lower's inode that a file of the tree becomes one with.
struct ChosenInode {
  InodeNumber inode;
  FileDifference difference;
};

class ImportComparison {
 public:
  ImportComparison(const FileTree& tree, const Volume& lower, const ImportRules& rules,
                   SideTree& below, PlanBuilder builder)
      : tree_(tree), lower_(lower), rules_(rules), below_(below), builder_(std::move(builder)) {
    if (rules.are_inodes_of_lower) {
      copied_.emplace(tree, below);
    }
  }

  Result<PlannedImport> run();

 private:
  Result<void> open_root();
  Result<void> compare_directory(const DirectoryPlace& place);
  Result<void> remove_hidden(const DirectoryPlace& place);
  Result<void> compare_name(const DirectoryPlace& place, const std::string& name,
                            const TreeName& what);
  Result<void> compare_subdirectory(const DirectoryPlace& place, const std::string& name,
                                    TreeFileId id, std::optional<InodeNumber> below);
  Result<void> remove(const DirectoryPlace& place, const std::string& name,
                      std::optional<InodeNumber> below);
  Result<PlannedFileId> planned_directory(TreeFileId id, std::optional<InodeNumber> inode);
  Result<std::optional<InodeNumber>> directory_below(TreeFileId id,
                                                     std::optional<InodeNumber> below);

  Result<void> find_kept_files();
  Result<void> settle_file(TreeFileId id, const std::vector<FilePlace>& places);
  Result<std::optional<ChosenInode>> choose_inode(TreeFileId id,
                                                  const std::vector<FilePlace>& places);
  void add_file(const TreeFile& file, const std::vector<FilePlace>& places);
  Result<PlannedFileId> change_file(const TreeFile& file, const ChosenInode& chosen);
  Result<std::vector<InodeNumber>> candidates(TreeFileId id, const std::vector<FilePlace>& places);
  Result<bool> is_wholly_named(InodeNumber inode, const std::vector<FilePlace>& places);
  Result<FileDifference> compare_file(const TreeFile& file, InodeNumber inode);
  bool has_same_metadata(const FileState& wanted, const FileState& present) const;
  FileState state_over(const FileState& wanted, const FileState* present) const;
  FileTime kept(FileTime time) const;

  const FileTree& tree_;
  const Volume& lower_;
  const ImportRules& rules_;
  SideTree& below_;
  PlanBuilder builder_;
  std::vector<DirectoryPlace> open_;
  std::map<TreeFileId, std::vector<FilePlace>> places_;  // in the order of the walk
  std::set<InodeNumber> claimed_;                        // by a file of the tree
  std::optional<CopiedInodes> copied_;                   // where the numbers count
  std::map<TreeFileId, InodeNumber> kept_;               // files that are the lower's still
  std::set<InodeNumber> kept_inodes_;                    // of these files
  ImportFigures figures_;
};

Result<PlannedImport> ImportComparison::run() {
  UNIONFS_TRY(open_root());
  while (!open_.empty()) {
    const DirectoryPlace place = std::move(open_.back());
    open_.pop_back();
    UNIONFS_TRY(compare_directory(place));
  }
  UNIONFS_TRY(find_kept_files());
  for (const auto& [id, places] : places_) {
    UNIONFS_TRY(settle_file(id, places));
  }
  figures_.bytes_compared += copied_ ? copied_->bytes_compared() : 0;
  return PlannedImport{std::move(builder_.plan()), figures_};
}

// ---- directories ------------------------------------------------------------------

Result<void> ImportComparison::open_root() {
  UNIONFS_ASSIGN(const PlannedFileId planned, planned_directory(kTreeRoot, kRootDirectory));
  open_.push_back({kTreeRoot, planned, "", kRootDirectory});
  return {};
}

// The directory of the result: the lower's, or a new one.
Result<PlannedFileId> ImportComparison::planned_directory(TreeFileId id,
                                                          std::optional<InodeNumber> inode) {
  const TreeFile& file = tree_.file(id);
  if (!inode) {
    return builder_.add(state_over(file.state, nullptr), std::nullopt);
  }
  claimed_.insert(*inode);
  UNIONFS_ASSIGN(const PlannedFileId planned, builder_.existing(*inode));
  UNIONFS_ASSIGN(const SharedState present, below_.state(*inode));
  if (!file.is_implied && !has_same_metadata(file.state, *present)) {
    builder_.file(planned).state = state_over(file.state, present.get());
    ++figures_.changed;
  }
  return planned;
}

Result<void> ImportComparison::compare_directory(const DirectoryPlace& place) {
  const TreeFile& directory = tree_.file(place.id);
  if (directory.is_opaque && place.below) {
    UNIONFS_TRY(remove_hidden(place));
  }
  for (const auto& [name, what] : directory.names) {
    UNIONFS_TRY(compare_name(place, name, what));
  }
  return {};
}

// Names of the lower that an opaque directory does not have.
Result<void> ImportComparison::remove_hidden(const DirectoryPlace& place) {
  UNIONFS_ASSIGN(const LowerNames::Names* names, below_.names_of(*place.below));
  for (const auto& [name, inode] : *names) {
    const bool is_lost_and_found = place.id == kTreeRoot && name == kLostAndFound;
    if (tree_.find(place.id, name) == nullptr && !is_lost_and_found) {
      UNIONFS_TRY(remove(place, name, inode));
    }
  }
  return {};
}

Result<void> ImportComparison::remove(const DirectoryPlace& place, const std::string& name,
                                      std::optional<InodeNumber> below) {
  if (!below) {
    ++figures_.missing;
    return {};
  }
  ++figures_.removed;
  builder_.set_name(place.planned, name, std::nullopt, place.path + "/" + name);
  return {};
}

Result<void> ImportComparison::compare_name(const DirectoryPlace& place, const std::string& name,
                                            const TreeName& what) {
  std::optional<InodeNumber> below;
  if (place.below) {
    UNIONFS_ASSIGN(below, below_.child(*place.below, name));
  }
  switch (what.mark) {
    case TreeMark::kWhiteout:
      return remove(place, name, below);
    case TreeMark::kFallthru:
      return {};
    case TreeMark::kFile:
      break;
  }
  if (tree_.file(what.file).state.is_directory()) {
    return compare_subdirectory(place, name, what.file, below);
  }
  places_[what.file].push_back({place.planned, name, place.path + "/" + name, below});
  return {};
}

Result<void> ImportComparison::compare_subdirectory(const DirectoryPlace& place,
                                                    const std::string& name, TreeFileId id,
                                                    std::optional<InodeNumber> below) {
  UNIONFS_ASSIGN(const std::optional<InodeNumber> inode, directory_below(id, below));
  const std::string path = place.path + "/" + name;
  if (tree_.file(id).is_implied && below && !inode) {
    return invalid(
        "{}: the source has files in this directory without describing it, and {} has no directory "
        "there but another file, which they would hide",
        quoted_name(path), lower_.name());
  }
  const uint64_t changed_before = figures_.changed;
  UNIONFS_ASSIGN(const PlannedFileId planned, planned_directory(id, inode));
  const bool is_changed = figures_.changed != changed_before;
  if (!inode || inode != below || is_changed) {
    builder_.set_name(place.planned, name, planned, path);
  }
  if (inode != below || !inode) {
    ++(below ? figures_.changed : figures_.added);
  } else if (!is_changed) {
    ++figures_.unchanged;
  }
  open_.push_back({id, planned, path, inode});
  return {};
}

// The directory of the lower that one of the tree becomes one with; `below` is what the lower has
// under its name.  Directories go by what they are, where that can be said, so that one that moved
// keeps its names.
Result<std::optional<InodeNumber>> ImportComparison::directory_below(
    TreeFileId id, std::optional<InodeNumber> below) {
  if (copied_) {
    UNIONFS_ASSIGN(const std::optional<InodeNumber> possible, copied_->possible(id));
    UNIONFS_ASSIGN(
        const std::optional<InodeNumber> same,
        possible == below ? Result<std::optional<InodeNumber>>(possible) : copied_->proven(id));
    if (same) {
      return claimed_.contains(*same) ? std::nullopt : same;
    }
  }
  if (!below || claimed_.contains(*below)) {
    return std::optional<InodeNumber>();
  }
  UNIONFS_ASSIGN(const bool is_directory, below_.is_directory(*below));
  UNIONFS_ASSIGN(const bool went_elsewhere,
                 copied_ ? copied_->is_kept(*below) : Result<bool>(false));
  return is_directory && !went_elsewhere ? below : std::nullopt;
}

// ---- files ------------------------------------------------------------------------

// A name that stayed says no more than that it can be the same file; one that moved takes a proof.
Result<void> ImportComparison::find_kept_files() {
  for (const auto& [id, places] : places_) {
    if (!copied_) {
      break;
    }
    UNIONFS_ASSIGN(const std::optional<InodeNumber> possible, copied_->possible(id));
    const bool has_stayed = std::ranges::any_of(
        places, [&](const FilePlace& place) { return place.below == possible; });
    UNIONFS_ASSIGN(const std::optional<InodeNumber> same,
                   has_stayed ? Result<std::optional<InodeNumber>>(possible) : copied_->proven(id));
    if (same) {
      kept_.emplace(id, *same);
      kept_inodes_.insert(*same);
    }
  }
  return {};
}

Result<void> ImportComparison::settle_file(TreeFileId id, const std::vector<FilePlace>& places) {
  UNIONFS_ASSIGN(const std::optional<ChosenInode> chosen, choose_inode(id, places));
  if (!chosen) {
    add_file(tree_.file(id), places);
    return {};
  }
  claimed_.insert(chosen->inode);
  const bool stays = std::ranges::all_of(
      places, [&](const FilePlace& place) { return place.below == chosen->inode; });
  if (stays && chosen->difference.is_equal()) {
    figures_.unchanged += places.size();
    return {};
  }
  UNIONFS_ASSIGN(const PlannedFileId planned, change_file(tree_.file(id), *chosen));
  for (const FilePlace& place : places) {
    if (place.below != chosen->inode) {
      ++(place.below ? figures_.changed : figures_.added);
    } else {
      ++(chosen->difference.is_equal() ? figures_.unchanged : figures_.changed);
    }
    builder_.set_name(place.directory, place.name, planned, place.path);
  }
  return {};
}

// An equal one, or else the first that may be changed.
Result<std::optional<ChosenInode>> ImportComparison::choose_inode(
    TreeFileId id, const std::vector<FilePlace>& places) {
  UNIONFS_ASSIGN(const std::vector<InodeNumber> possible, candidates(id, places));
  std::optional<ChosenInode> chosen;
  for (const InodeNumber inode : possible) {
    UNIONFS_ASSIGN(const FileDifference difference, compare_file(tree_.file(id), inode));
    if (difference.is_equal()) {
      return std::optional<ChosenInode>({inode, difference});
    }
    UNIONFS_ASSIGN(const bool may_change, is_wholly_named(inode, places));
    if (may_change && !chosen) {
      chosen = {inode, difference};
    }
  }
  return chosen;
}

void ImportComparison::add_file(const TreeFile& file, const std::vector<FilePlace>& places) {
  const uint16_t type = file.state.type();
  const bool has_content = type != ext2::kModeFifo && type != ext2::kModeSocket;
  const PlannedContent content{nullptr, InodeNumber(0), file.content};
  const PlannedFileId planned = builder_.add(state_over(file.state, nullptr),
                                             has_content ? std::optional(content) : std::nullopt);
  for (const FilePlace& place : places) {
    ++(place.below ? figures_.changed : figures_.added);
    builder_.set_name(place.directory, place.name, planned, place.path);
  }
}

Result<PlannedFileId> ImportComparison::change_file(const TreeFile& file,
                                                    const ChosenInode& chosen) {
  UNIONFS_ASSIGN(const PlannedFileId id, builder_.existing(chosen.inode));
  PlannedFile& planned = builder_.file(id);
  if (!chosen.difference.is_equal()) {
    UNIONFS_ASSIGN(const SharedState present, below_.state(chosen.inode));
    planned.state = state_over(file.state, present.get());
  }
  if (chosen.difference.in_content) {
    planned.content = PlannedContent{nullptr, InodeNumber(0), file.content};
  }
  return id;
}

// Inodes of the lower that the file may become one with, each once.
Result<std::vector<InodeNumber>> ImportComparison::candidates(
    TreeFileId id, const std::vector<FilePlace>& places) {
  const TreeFile& file = tree_.file(id);
  std::vector<InodeNumber> found;
  if (const auto kept = kept_.find(id); kept != kept_.end()) {
    found.push_back(kept->second);
  }
  for (const FilePlace& place : places) {
    if (!place.below || claimed_.contains(*place.below) || kept_inodes_.contains(*place.below) ||
        std::ranges::find(found, *place.below) != found.end()) {
      continue;
    }
    UNIONFS_ASSIGN(const SharedState present, below_.state(*place.below));
    if (present->type() == file.state.type()) {
      found.push_back(*place.below);
    }
  }
  return found;
}

// Whether no name that the tree leaves as it is leads to the lower's inode.
Result<bool> ImportComparison::is_wholly_named(InodeNumber inode,
                                               const std::vector<FilePlace>& places) {
  if (rules_.are_inodes_of_lower) {
    return true;  // the tree has, or removes, each name of the lower
  }
  UNIONFS_ASSIGN(const SharedState present, below_.state(inode));
  const auto count =
      std::ranges::count_if(places, [&](const FilePlace& place) { return place.below == inode; });
  return static_cast<uint64_t>(count) >= present->links_count;
}

Result<FileDifference> ImportComparison::compare_file(const TreeFile& file, InodeNumber inode) {
  UNIONFS_ASSIGN(const SharedState present, below_.state(inode));
  FileDifference difference;
  difference.in_metadata = !has_same_metadata(file.state, *present);
  if (file.state.is_regular()) {
    const uint64_t size = file.content == nullptr ? 0 : file.content->size_bytes();
    if (size != present->size_bytes) {
      difference.in_content = true;
    } else if (size != 0) {
      UNIONFS_ASSIGN(InodeRecord record, read_inode(lower_, inode));
      FileReader reader(lower_, std::move(record));
      UNIONFS_ASSIGN(const bool is_same,
                     have_same_bytes(*file.content, reader, figures_.bytes_compared));
      difference.in_content = !is_same;
    }
  } else {
    difference.in_content = file.state.target != present->target ||
                            file.state.device_major != present->device_major ||
                            file.state.device_minor != present->device_minor;
  }
  return difference;
}

// ---- states -----------------------------------------------------------------------

FileTime ImportComparison::kept(FileTime time) const {
  if (!can_keep_time(time, lower_.layout().inode_size_bytes)) {
    time.nanoseconds = 0;
  }
  return time;
}

bool ImportComparison::has_same_metadata(const FileState& wanted, const FileState& present) const {
  return wanted.mode == present.mode && wanted.user_id == present.user_id &&
         wanted.group_id == present.group_id && wanted.user_flags == present.user_flags &&
         kept(wanted.modified) == present.modified && wanted.attributes == present.attributes;
}

// A file that is changed keeps its birth; a new one is born when its source says, or else when it
// was last modified, because no clock has a say.
FileState ImportComparison::state_over(const FileState& wanted, const FileState* present) const {
  FileState state = wanted;
  if (present != nullptr) {
    state.created = present->created;
  } else if (!state.created) {
    state.created = state.modified;
  }
  return state;
}

}  // namespace

Result<PlannedImport> plan_import(const FileTree& tree, const Volume& lower,
                                  const ImportRules& rules) {
  SideTree below(lower);
  UNIONFS_ASSIGN(PlanBuilder builder, PlanBuilder::make(below));
  return ImportComparison(tree, lower, rules, below, std::move(builder)).run();
}

}  // namespace unionfs
