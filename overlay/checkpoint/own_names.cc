// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/own_names.h"

#include <algorithm>
#include <string>
#include <unordered_map>

#include "fsparse/directory.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

// The names that may fall through: those in the lower directory of the same number.
// None of a damaged one, which may be what the session mended.
Result<std::unordered_map<std::string, InodeNumber>> names_below(const LayerSources& from,
                                                                 InodeNumber directory) {
  std::unordered_map<std::string, InodeNumber> names;
  UNIONFS_ASSIGN(const bool is_below, from.used_below.is_used(directory));
  if (!is_below) {
    return names;
  }
  UNIONFS_ASSIGN(const InodeRecord lower, read_inode(from.lower, directory));
  if (!lower.is_directory()) {
    return names;
  }
  UNIONFS_ASSIGN(auto entries, from.entries_below(lower));
  for (NamedEntry& entry : entries.value_or(std::vector<NamedEntry>())) {
    names.emplace(std::move(entry.name), entry.inode);
  }
  return names;
}

// The search for directories that name one of some inodes.
class NameSearch {
 public:
  NameSearch(const LayerSources& from, const OwnInodes& inodes, const std::set<InodeNumber>& wanted,
             OwnNames& names, InodeQueue& queue)
      : from_(from), inodes_(inodes), wanted_(wanted), names_(names), queue_(queue) {}

  // Whether any was found.
  Result<bool> run() {
    UNIONFS_ASSIGN(bool found, search_hints());
    if (found) {
      return true;
    }
    std::set<GroupNumber> near;
    for (const InodeNumber inode : wanted_) {
      near.insert(from_.layout().group_of(inode));
    }
    for (const GroupNumber group : near) {
      UNIONFS_ASSIGN(const bool in_group, search_group(group));
      found = found || in_group;
    }
    for (uint32_t number = 0; number < from_.layout().group_count() && !found; ++number) {
      if (!near.contains(GroupNumber(number))) {
        UNIONFS_ASSIGN(found, search_group(GroupNumber(number)));
      }
    }
    return found;
  }

 private:
  Result<bool> search_hints() {
    bool found = false;
    for (const InodeNumber inode : from_.hints.directories) {
      UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
      UNIONFS_ASSIGN(const std::optional<InodeRecord> directory, candidate(inode));
      UNIONFS_ASSIGN(const bool in_it, directory ? search(*directory) : Result<bool>(false));
      found = found || in_it;
    }
    return found;
  }

  // The directory of that number, if there is one whose names nobody has looked at.
  Result<std::optional<InodeRecord>> candidate(InodeNumber inode) {
    using Directory = std::optional<InodeRecord>;
    const bool is_reserved =
        inode.value() < from_.layout().first_inode && inode.value() != ext2::kRootInode;
    if (is_reserved || inodes_.contains(inode) || queue_.has_seen(inode)) {
      return Directory();
    }
    UNIONFS_ASSIGN(const bool is_used, from_.used.is_used(inode));
    if (!is_used) {
      return Directory();
    }
    UNIONFS_ASSIGN(InodeRecord record, read_inode(from_.merged, inode));
    return record.is_directory() ? Directory(std::move(record)) : Directory();
  }

  Result<bool> search_group(GroupNumber group) {
    UNIONFS_TRY(check_not_cancelled(from_.is_cancelled));
    if (from_.merged.group(group).used_dirs_count == 0) {
      return false;
    }
    const Layout& layout = from_.layout();
    bool found = false;
    for (uint32_t i = 0; i < layout.inodes_per_group; ++i) {
      const InodeNumber inode(group.value() * layout.inodes_per_group + i + 1);
      UNIONFS_ASSIGN(const std::optional<InodeRecord> directory, candidate(inode));
      if (directory) {
        ++names_.directories_searched;
        UNIONFS_ASSIGN(const bool in_it, search(*directory));
        found = found || in_it;
      }
    }
    return found;
  }

  // Queues the directory if it names one of the wanted inodes; returns whether it does.
  Result<bool> search(const InodeRecord& directory) {
    UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(from_.merged, directory));
    const bool names_one =
        std::any_of(entries.begin(), entries.end(), [&](const NamedEntry& entry) {
          return entry.name != "." && entry.name != ".." && wanted_.contains(entry.inode);
        });
    if (names_one) {
      queue_.add(directory.number());
    }
    return names_one;
  }

  const LayerSources& from_;
  const OwnInodes& inodes_;
  const std::set<InodeNumber>& wanted_;
  OwnNames& names_;
  InodeQueue& queue_;
};

}  // namespace

Result<void> scan_names(const LayerSources& from, const InodeRecord& directory,
                        const LayerSets& sets, OwnNames& names, InodeQueue& queue) {
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(from.merged, directory));
  UNIONFS_ASSIGN(const auto below, names_below(from, directory.number()));
  for (const NamedEntry& entry : entries) {
    if (entry.name == ".") {
      continue;
    }
    if (entry.name == "..") {
      // The parent names this directory, and so is formed too.
      queue.add(entry.inode);
      continue;
    }
    ++names.counts[entry.inode];
    UNIONFS_ASSIGN(const bool is_used, from.used.is_used(entry.inode));
    if (!is_used) {
      return corrupt("{}: directory inode {}: {} names inode {}, which is free", kMergedImage,
                     directory.number(), quoted_name(entry.name), entry.inode);
    }
    const auto found = below.find(entry.name);
    const bool falls = found != below.end() && found->second == entry.inode &&
                       !sets.inode_whiteouts.test(entry.inode);
    if (falls && (entry.file_type == ext2::kFileTypeDirectory ||
                  entry.file_type == ext2::kFileTypeUnknown)) {
      names.same_as_below.insert({directory.number(), entry.inode});
    }
    if (!falls && !sets.own_inodes.test(entry.inode)) {
      queue.add(entry.inode);
    }
  }
  return {};
}

Result<std::set<InodeNumber>> find_nameless(const LayerSources& from, const OwnInodes& inodes,
                                            const OwnNames& names) {
  std::set<InodeNumber> wanted;
  for (const auto& [inode, own] : inodes) {
    if (from.was_own(inode) || inode.value() < from.layout().first_inode) {
      continue;
    }
    const uint32_t links = own.record.is_directory() ? 1 : own.record.raw().i_links_count.value();
    const auto found = names.counts.find(inode);
    const uint32_t count = found == names.counts.end() ? 0 : found->second;
    if (links == 0) {
      return corrupt("{}: inode {} is used, but has no links", kMergedImage, inode);
    }
    if (count > links) {
      return corrupt("{}: inode {} has {} links, but {} names", kMergedImage, inode, links, count);
    }
    if (count < links) {
      wanted.insert(inode);
    }
  }
  return wanted;
}

Result<void> search_names(const LayerSources& from, const OwnInodes& inodes,
                          const std::set<InodeNumber>& wanted, OwnNames& names, InodeQueue& queue) {
  for (const InodeNumber inode : wanted) {
    // A directory says itself who names it.
    const InodeRecord& record = inodes.at(inode).record;
    if (record.is_directory()) {
      UNIONFS_ASSIGN(const auto parent, find_name(from.merged, record, ".."));
      return corrupt("{}: directory inode {} is not named by its parent, inode {}", kMergedImage,
                     inode, parent ? parent->inode : InodeNumber(0));
    }
  }
  UNIONFS_ASSIGN(const bool found, NameSearch(from, inodes, wanted, names, queue).run());
  if (!found) {
    const InodeNumber first = *wanted.begin();
    return corrupt("{}: inode {} has {} links, but only {} names", kMergedImage, first,
                   inodes.at(first).record.raw().i_links_count, names.counts[first]);
  }
  return {};
}

}  // namespace unionfs
