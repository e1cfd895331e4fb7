// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/planned_tree.h"

#include <algorithm>

#include "fsparse/directory.h"
#include "overlay/geometry/number_sets.h"

namespace unionfs {
namespace {

bool needs_content(const FileState& state) {
  switch (state.type()) {
    case ext2::kModeRegular:
    case ext2::kModeSymlink:
    case ext2::kModeCharDevice:
    case ext2::kModeBlockDevice:
      return true;
    default:
      return false;
  }
}

bool is_known_type(const FileState& state) {
  return needs_content(state) || state.is_directory() || state.type() == ext2::kModeFifo ||
         state.type() == ext2::kModeSocket;
}

bool is_possible_name(const std::string& name) {
  return !name.empty() && name.size() <= ext2::kMaxNameBytes && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

// A directory of the result: one that exists by its inode, a new one by its id.
using PlannedPlace = std::pair<bool, uint32_t>;
constexpr PlannedPlace kRootPlace{false, ext2::kRootInode};

enum class Standing { kReachesRoot, kGoes };

class PlannedTreeMaker {
 public:
  PlannedTreeMaker(const Plan& plan, const Volume& image)
      : plan_(plan),
        image_(image),
        used_(image),
        standings_{{kRootPlace, Standing::kReachesRoot}} {}

  Result<PlannedTree> run() {
    UNIONFS_TRY(check_files());
    UNIONFS_TRY(check_names());
    UNIONFS_TRY(find_former());
    UNIONFS_TRY(compare_names());
    UNIONFS_TRY(settle_directories());
    UNIONFS_TRY(check_places());
    UNIONFS_TRY(take_trees());
    UNIONFS_TRY(count_links());
    return std::move(tree_);
  }

 private:
  const PlannedFile& file(PlannedFileId id) const { return plan_.files[id]; }
  std::string describe(PlannedFileId id) const { return tree_.describe(plan_, id); }
  Result<InodeRecord> used_inode(InodeNumber inode);
  Result<void> check_files();
  Result<void> check_file(PlannedFileId id);
  Result<void> check_names();
  Result<void> find_former();
  Result<void> compare_names();
  Result<void> lose(const FormerTarget& target);
  Result<void> gain(PlannedFileId id, const PlannedNameKey& key);
  Result<void> settle_directories();
  Result<InodeNumber> former_parent(InodeNumber directory);
  Result<std::optional<PlannedPlace>> next_place(const PlannedPlace& place);
  Result<std::optional<Standing>> standing_of(PlannedPlace place);
  PlannedPlace place_of(PlannedFileId id) const {
    return file(id).existing ? PlannedPlace(false, file(id).existing->value())
                             : PlannedPlace(true, id);
  }
  Result<void> check_places();
  Result<void> take_trees();
  Result<void> take_directory(InodeNumber directory, std::vector<InodeNumber>& left);
  Result<void> count_links();

  const Plan& plan_;
  const Volume& image_;
  UsedNumbers used_;
  PlannedTree tree_;
  std::map<InodeNumber, PlannedFileId> ids_;    // of planned files that exist
  std::set<InodeNumber> nameless_;              // directories that lose their name
  std::map<InodeNumber, uint32_t> lost_;        // names of other files
  std::map<PlannedFileId, uint32_t> gained_;    // the same
  std::map<PlannedPlace, Standing> standings_;  // so far
};

// ---- files and names, each for itself ---------------------------------------------

Result<InodeRecord> PlannedTreeMaker::used_inode(InodeNumber inode) {
  UNIONFS_ASSIGN(InodeRecord record, read_inode(image_, inode));
  UNIONFS_ASSIGN(const bool is_used, used_.is_used(inode));
  if (!is_used || record.raw().i_links_count == 0) {
    return corrupt("{}: inode {}: is free, but a name leads to it", image_.name(), inode);
  }
  return record;
}

Result<void> PlannedTreeMaker::check_files() {
  if (plan_.files.empty() || plan_.files[kPlannedRoot].existing != kRootDirectory) {
    return invalid("{}: a plan without the root directory", image_.name());
  }
  tree_.first_names.resize(plan_.files.size());
  for (const auto& entry : plan_.names) {
    const std::optional<PlannedFileId> id = entry.second.file;
    if (entry.first.directory >= plan_.files.size() || (id && *id >= plan_.files.size())) {
      return invalid("{}: {}: is planned for a file that is not planned", image_.name(),
                     quoted_name(entry.second.path));
    }
    if (id && tree_.first_names[*id] == nullptr) {
      tree_.first_names[*id] = &entry;
    }
  }
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    UNIONFS_TRY(check_file(id));
  }
  return {};
}

Result<void> PlannedTreeMaker::check_file(PlannedFileId id) {
  const PlannedFile& planned = file(id);
  if (!is_known_type(planned.state)) {
    return invalid("{}: {}: has no known type", image_.name(), describe(id));
  }
  const bool may_have = needs_content(planned.state);
  if (planned.content ? !may_have : may_have && !planned.existing) {
    return invalid("{}: {}: has content, but must have none, or none and needs one", image_.name(),
                   describe(id));
  }
  if (planned.content && planned.content->image != nullptr) {
    const PlannedContent& from = *planned.content;
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(*from.image, from.inode));
    if (record.type() != planned.state.type()) {
      return invalid("{}: {}: gets the content of another type, inode {} of {}", image_.name(),
                     describe(id), from.inode, from.image->name());
    }
  }
  if (!planned.existing) {
    return {};
  }
  const InodeNumber inode = *planned.existing;
  UNIONFS_ASSIGN(const InodeRecord record, used_inode(inode));
  const bool is_reserved = inode.value() < image_.layout().first_inode && inode != kRootDirectory;
  if (is_reserved || record.type() != planned.state.type()) {
    return invalid("{}: {}: inode {} {}", image_.name(), describe(id), inode,
                   is_reserved ? "is reserved" : "is of another type");
  }
  if (!ids_.emplace(inode, id).second) {
    return invalid("{}: {}: inode {} is planned twice", image_.name(), describe(id), inode);
  }
  return {};
}

Result<void> PlannedTreeMaker::check_names() {
  for (const auto& [key, name] : plan_.names) {
    if (!file(key.directory).state.is_directory() || name.file == kPlannedRoot ||
        !is_possible_name(key.name)) {
      return invalid("{}: {}: cannot be a name", image_.name(), quoted_name(name.path));
    }
  }
  return {};
}

// ---- before and after -------------------------------------------------------------

// Reads each planned directory once.
Result<void> PlannedTreeMaker::find_former() {
  auto name = plan_.names.begin();
  while (name != plan_.names.end()) {
    const PlannedFileId id = name->first.directory;
    if (file(id).existing) {
      UNIONFS_ASSIGN(const InodeRecord directory, used_inode(*file(id).existing));
      UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(image_, directory));
      for (const NamedEntry& entry : entries) {
        const auto planned = plan_.names.find({id, entry.name});
        if (entry.kind != EntryKind::kReal || planned == plan_.names.end()) {
          continue;
        }
        UNIONFS_ASSIGN(const InodeRecord target, used_inode(entry.inode));
        tree_.former.emplace(&planned->first, FormerTarget{entry.inode, target.is_directory()});
      }
    }
    while (name != plan_.names.end() && name->first.directory == id) {
      ++name;
    }
  }
  return {};
}

Result<void> PlannedTreeMaker::compare_names() {
  for (const auto& [key, name] : plan_.names) {
    if (!tree_.is_changed(plan_, key, name)) {
      continue;
    }
    if (const auto former = tree_.former.find(&key); former != tree_.former.end()) {
      UNIONFS_TRY(lose(former->second));
    }
    if (name.file) {
      UNIONFS_TRY(gain(*name.file, key));
    }
  }
  return {};
}

Result<void> PlannedTreeMaker::lose(const FormerTarget& target) {
  if (!target.is_directory) {
    ++lost_[target.inode];
  } else if (!nameless_.insert(target.inode).second || target.inode == kRootDirectory) {
    return corrupt("{}: inode {}: directory with two names", image_.name(), target.inode);
  }
  return {};
}

Result<void> PlannedTreeMaker::gain(PlannedFileId id, const PlannedNameKey& key) {
  if (!file(id).state.is_directory()) {
    ++gained_[id];
  } else if (!tree_.new_parents.emplace(id, key.directory).second) {
    return invalid("{}: {}: a directory with two names", image_.name(), describe(id));
  }
  return {};
}

// ---- directories --------------------------------------------------------------------

Result<InodeNumber> PlannedTreeMaker::former_parent(InodeNumber directory) {
  UNIONFS_ASSIGN(const InodeRecord record, used_inode(directory));
  UNIONFS_ASSIGN(const auto parent, find_name(image_, record, ".."));
  if (!parent || parent->kind != EntryKind::kReal) {
    return corrupt("{}: inode {}: directory without \"..\"", image_.name(), directory);
  }
  return parent->inode;
}

// The directory that names this one afterwards; nothing: none does.
Result<std::optional<PlannedPlace>> PlannedTreeMaker::next_place(const PlannedPlace& place) {
  using Next = std::optional<PlannedPlace>;
  std::optional<PlannedFileId> id;
  if (place.first) {
    id = place.second;
  } else if (const auto known = ids_.find(InodeNumber(place.second)); known != ids_.end()) {
    id = known->second;
  }
  if (id) {
    if (const auto moved = tree_.new_parents.find(*id); moved != tree_.new_parents.end()) {
      return Next(place_of(moved->second));
    }
  }
  if (place.first || nameless_.contains(InodeNumber(place.second))) {
    return Next();
  }
  UNIONFS_ASSIGN(const InodeNumber parent, former_parent(InodeNumber(place.second)));
  return Next(PlannedPlace(false, parent.value()));
}

// Nothing for a directory that lies below itself.
Result<std::optional<Standing>> PlannedTreeMaker::standing_of(PlannedPlace place) {
  std::set<PlannedPlace> way;
  Standing standing = Standing::kGoes;
  while (true) {
    if (const auto known = standings_.find(place); known != standings_.end()) {
      standing = known->second;
      break;
    }
    if (!way.insert(place).second) {
      return std::optional<Standing>();
    }
    UNIONFS_ASSIGN(const auto next, next_place(place));
    if (!next) {
      break;
    }
    place = *next;
  }
  for (const PlannedPlace& passed : way) {
    standings_.emplace(passed, standing);
  }
  return std::optional<Standing>(standing);
}

// Each planned directory has one name and reaches the root, or goes.
Result<void> PlannedTreeMaker::settle_directories() {
  for (PlannedFileId id = kPlannedRoot + 1; id < plan_.files.size(); ++id) {
    if (!file(id).state.is_directory()) {
      continue;
    }
    const bool is_named = tree_.new_parents.contains(id);
    if (!file(id).existing && !is_named) {
      return invalid("{}: a new directory without a name is planned", image_.name());
    }
    UNIONFS_ASSIGN(const auto standing, standing_of(place_of(id)));
    if (!standing) {
      return invalid("{}: {}: would be a directory below itself", image_.name(), describe(id));
    }
    if (*standing == Standing::kGoes) {
      tree_.gone.insert(id);
    }
    if (file(id).existing && is_named && !nameless_.contains(*file(id).existing)) {
      // The old name may go with the directory that it is in.
      UNIONFS_ASSIGN(const InodeNumber parent, former_parent(*file(id).existing));
      UNIONFS_ASSIGN(const auto old, standing_of({false, parent.value()}));
      if (old != Standing::kGoes) {
        return invalid("{}: {}: a directory with two names", image_.name(), describe(id));
      }
    }
  }
  return {};
}

Result<void> PlannedTreeMaker::check_places() {
  for (const auto& [key, name] : plan_.names) {
    if (name.file && tree_.gone.contains(key.directory)) {
      return invalid("{}: {}: is planned in a directory that goes", image_.name(),
                     quoted_name(name.path));
    }
  }
  return {};
}

// ---- what goes, and links -----------------------------------------------------------

Result<void> PlannedTreeMaker::take_trees() {
  std::vector<InodeNumber> left;
  for (const InodeNumber directory : nameless_) {
    const auto known = ids_.find(directory);
    if (known == ids_.end() || !tree_.new_parents.contains(known->second)) {
      left.push_back(directory);
    }
  }
  while (!left.empty()) {
    const InodeNumber directory = left.back();
    left.pop_back();
    if (!tree_.gone_directories.insert(directory).second) {
      return corrupt("{}: inode {}: directory with two names", image_.name(), directory);
    }
    UNIONFS_TRY(take_directory(directory, left));
  }
  return {};
}

Result<void> PlannedTreeMaker::take_directory(InodeNumber directory,
                                              std::vector<InodeNumber>& left) {
  UNIONFS_ASSIGN(const InodeRecord record, used_inode(directory));
  const auto known = ids_.find(directory);
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(image_, record));
  for (const NamedEntry& entry : entries) {
    if (entry.kind != EntryKind::kReal || entry.name == "." || entry.name == ".." ||
        (known != ids_.end() && plan_.names.contains({known->second, entry.name}))) {
      continue;
    }
    UNIONFS_ASSIGN(const InodeRecord target, used_inode(entry.inode));
    const auto id = ids_.find(entry.inode);
    if (!target.is_directory()) {
      ++lost_[entry.inode];
    } else if (id == ids_.end() || !tree_.new_parents.contains(id->second)) {
      left.push_back(entry.inode);
    }
  }
  return {};
}

Result<void> PlannedTreeMaker::count_links() {
  tree_.links.resize(plan_.files.size());
  for (const auto& [inode, count] : lost_) {
    UNIONFS_ASSIGN(const InodeRecord record, used_inode(inode));
    if (record.raw().i_links_count < count) {
      return corrupt("{}: inode {}: has {} links, but at least {} names", image_.name(), inode,
                     record.raw().i_links_count, count);
    }
    if (!ids_.contains(inode)) {
      tree_.left_links[inode] = record.raw().i_links_count - count;
    }
  }
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    const std::optional<InodeNumber> existing = file(id).existing;
    if (file(id).state.is_directory()) {
      continue;
    }
    uint32_t& links = tree_.links[id];
    links = gained_.contains(id) ? gained_[id] : 0;
    if (existing) {
      UNIONFS_ASSIGN(const InodeRecord record, used_inode(*existing));
      links += record.raw().i_links_count - (lost_.contains(*existing) ? lost_[*existing] : 0);
    }
    if (links > ext2::kMaxLinks) {
      return system_failure(EMLINK, fmt::format("{}: {}: {} names are more than {}", image_.name(),
                                                describe(id), links, ext2::kMaxLinks));
    }
    if (links == 0 && !existing) {
      return invalid("{}: a new file without a name is planned", image_.name());
    }
    if (links == 0) {
      tree_.gone.insert(id);
    }
  }
  return {};
}

}  // namespace

bool PlannedTree::is_changed(const Plan& plan, const PlannedNameKey& key,
                             const PlannedName& name) const {
  const auto found = former.find(&key);
  if (!name.file || found == former.end()) {
    return name.file || found != former.end();
  }
  return plan.files[*name.file].existing != found->second.inode;
}

std::string PlannedTree::describe(const Plan& plan, PlannedFileId id) const {
  if (first_names[id] != nullptr) {
    return quoted_name(first_names[id]->second.path);
  }
  return id == kPlannedRoot        ? "/"
         : plan.files[id].existing ? fmt::format("inode {}", *plan.files[id].existing)
                                   : "a new file";
}

Result<PlannedTree> plan_tree(const Plan& plan, const Volume& image) {
  return PlannedTreeMaker(plan, image).run();
}

}  // namespace unionfs
