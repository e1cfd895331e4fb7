// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/lower_names.h"

#include <vector>

#include "overlay/upper/layer_tree.h"

namespace unionfs {

Result<const LowerNames::Names*> LowerNames::of(InodeNumber directory) {
  if (const auto known = names_.find(directory); known != names_.end()) {
    return &known->second;
  }
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, directory));
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, sorted_entries(lower_, record));
  Names& names = names_[directory];
  for (size_t i = 0; i < entries.size(); ++i) {
    // Of a name that a damaged directory has twice the last one counts.
    if (i + 1 == entries.size() || entries[i + 1].name != entries[i].name) {
      names.add(entries[i].name, entries[i].inode);
    }
  }
  names.shrink();
  return &names;
}

Result<InodeNumber> LowerNames::parent_of(InodeNumber directory) const {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, directory));
  UNIONFS_ASSIGN(const auto parent, find_name(lower_, record, ".."));
  if (!parent) {
    return corrupt("{}: directory inode {} has no parent", lower_.name(), directory);
  }
  return parent->inode;
}

Result<std::string> LowerNames::path(InodeNumber directory) {
  std::vector<InodeNumber> unknown;  // directories whose path is not known, upwards
  std::string path;
  InodeNumber at = directory;
  while (at.value() != ext2::kRootInode) {
    if (const auto known = paths_.find(at); known != paths_.end()) {
      path = known->second;
      break;
    }
    if (unknown.size() > lower_.layout().inode_count()) {
      return corrupt("{}: directory inode {}: its parents go round in a circle", lower_.name(),
                     directory);
    }
    unknown.push_back(at);
    UNIONFS_ASSIGN(at, parent_of(at));
  }
  for (; !unknown.empty(); unknown.pop_back()) {
    UNIONFS_ASSIGN(const std::string name, name_in(at, unknown.back()));
    path += "/" + name;
    at = unknown.back();
    paths_[at] = path;
  }
  return path;
}

Result<std::string> LowerNames::name_in(InodeNumber parent, InodeNumber child) {
  UNIONFS_ASSIGN(const Names* names, of(parent));
  std::optional<std::string> found = names->name_of(child);
  if (!found) {
    return corrupt("{}: directory inode {} is not named by its parent, inode {}", lower_.name(),
                   child, parent);
  }
  return *std::move(found);
}

}  // namespace unionfs
