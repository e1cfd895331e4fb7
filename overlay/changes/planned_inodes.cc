// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/planned_inodes.h"

#include <deque>
#include <set>

#include "fsparse/directory.h"

namespace unionfs {
namespace {

class PlannedFinder {
 public:
  PlannedFinder(const Plan& plan, const PlannedTree& tree, const Volume& merged)
      : plan_(plan), tree_(tree), merged_(merged) {}

  Result<PlannedInodes> run();

 private:
  const PlannedFile& file(PlannedFileId id) const { return plan_.files[id]; }
  std::string describe(PlannedFileId id) const { return tree_.describe(plan_, id); }
  Result<void> know(PlannedFileId id, InodeNumber inode);
  Result<void> check_directory(PlannedFileId id);
  Result<void> check_entry(PlannedFileId id, const NamedEntry& entry);
  Result<void> check_all_there(PlannedFileId id, const std::set<std::string>& names);
  Result<void> check_parents() const;

  const Plan& plan_;
  const PlannedTree& tree_;
  const Volume& merged_;
  PlannedInodes found_;
  std::deque<PlannedFileId> directories_;         // whose inodes are known
  std::map<PlannedFileId, InodeNumber> parents_;  // where ".." of each leads
};

Result<PlannedInodes> PlannedFinder::run() {
  found_.inodes.resize(plan_.files.size());
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    if (file(id).existing && !tree_.gone.contains(id)) {
      UNIONFS_TRY(know(id, *file(id).existing));
    }
  }
  // New directories are found on the way.
  while (!directories_.empty()) {
    const PlannedFileId id = directories_.front();
    directories_.pop_front();
    UNIONFS_TRY(check_directory(id));
  }
  UNIONFS_TRY(check_parents());
  return std::move(found_);
}

Result<void> PlannedFinder::know(PlannedFileId id, InodeNumber inode) {
  if (!found_.ids.emplace(inode, id).second) {
    return corrupt("{}: {}: shares inode {} with {}, but was planned apart", merged_.name(),
                   describe(id), inode, describe(found_.ids.at(inode)));
  }
  found_.inodes[id] = inode;
  if (file(id).state.is_directory()) {
    directories_.push_back(id);
  }
  return {};
}

Result<void> PlannedFinder::check_directory(PlannedFileId id) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(merged_, found_.inodes[id]));
  if (!record.is_directory()) {
    return corrupt("{}: {}: is no directory, but was planned to be one", merged_.name(),
                   describe(id));
  }
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(merged_, record));
  std::set<std::string> names;
  uint32_t links = 2;  // its own name and "."
  for (const NamedEntry& entry : entries) {
    if (entry.name == "..") {
      parents_[id] = entry.inode;
    } else if (entry.name != ".") {
      UNIONFS_ASSIGN(const InodeRecord target, read_inode(merged_, entry.inode));
      links += target.is_directory() ? 1 : 0;
      UNIONFS_TRY(check_entry(id, entry));
      names.insert(entry.name);
    }
  }
  if (record.raw().i_links_count != links) {
    return corrupt("{}: {}: has {} links, but {} with those of its directories were planned",
                   merged_.name(), describe(id), record.raw().i_links_count, links);
  }
  return check_all_there(id, names);
}

Result<void> PlannedFinder::check_entry(PlannedFileId id, const NamedEntry& entry) {
  const auto planned = plan_.names.find({id, entry.name});
  if (planned == plan_.names.end()) {
    return file(id).existing ? Result<void>()
                             : corrupt("{}: {}: has the name {}, which was not planned",
                                       merged_.name(), describe(id), quoted_name(entry.name));
  }
  const std::string path = quoted_name(planned->second.path);
  if (!planned->second.file) {
    return corrupt("{}: {}: is still there, but was planned to go", merged_.name(), path);
  }
  const PlannedFileId target = *planned->second.file;
  if (found_.inodes[target] == InodeNumber(0)) {
    UNIONFS_TRY(know(target, entry.inode));
  }
  if (found_.inodes[target] != entry.inode) {
    return corrupt("{}: {}: leads to inode {}, but inode {} was planned", merged_.name(), path,
                   entry.inode, found_.inodes[target]);
  }
  return {};
}

Result<void> PlannedFinder::check_all_there(PlannedFileId id, const std::set<std::string>& names) {
  for (auto at = plan_.names.lower_bound({id, ""});
       at != plan_.names.end() && at->first.directory == id; ++at) {
    if (at->second.file && !names.contains(at->first.name)) {
      return corrupt("{}: {}: is not there, but was planned", merged_.name(),
                     quoted_name(at->second.path));
    }
  }
  return {};
}

Result<void> PlannedFinder::check_parents() const {
  for (const auto& [id, parent] : tree_.new_parents) {
    const auto found = parents_.find(id);
    if (found == parents_.end() || found->second != found_.inodes[parent]) {
      return corrupt("{}: {}: \"..\" does not lead to the planned directory", merged_.name(),
                     describe(id));
    }
  }
  return {};
}

}  // namespace

Result<PlannedInodes> find_planned(const Plan& plan, const PlannedTree& tree,
                                   const Volume& merged) {
  return PlannedFinder(plan, tree, merged).run();
}

}  // namespace unionfs
