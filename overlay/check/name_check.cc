// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/name_check.h"

#include <algorithm>
#include <string>

#include "fsparse/directory.h"
#include "fsparse/htree.h"

namespace unionfs {
namespace {

class NameCheck {
 public:
  NameCheck(const CheckSources& sources, const LayerNumbers& numbers, const OwnFiles& files,
            LowerSide& lower, Violations& violations)
      : from_(sources),
        first_inode_(sources.layout().first_inode),
        numbers_(numbers),
        files_(files),
        lower_(lower),
        violations_(violations) {}

  Result<LinksByInode> run() {
    const InodeNumber root(ext2::kRootInode);
    if (!numbers_.own_inodes.test(root)) {
      violations_.add("the root directory is not marked own");
      return std::move(links_);
    }
    places_[root] = {root, ""};
    directories_.push_back(root);
    for (size_t i = 0; i < directories_.size(); ++i) {
      UNIONFS_TRY(violations_.take(check_directory(directories_[i])));
    }
    UNIONFS_TRY(violations_.take(check_links()));
    return std::move(links_);
  }

 private:
  struct Place {
    InodeNumber parent;
    std::string name;
  };
  // An own directory with what the checks of its entries ask for.
  struct Directory {
    InodeRecord record;
    InodeNumber parent;
    const LowerNames::Names* below;  // of the lower directory of that number; or nullptr
    bool is_in_place;                // whoever goes by path finds that lower directory
    std::vector<NamedEntry> entries;

    InodeNumber number() const { return record.number(); }
  };

  bool is_reserved(InodeNumber inode) const {
    return inode.value() < first_inode_ && inode.value() != ext2::kRootInode;
  }

  Result<void> check_directory(InodeNumber number) {
    UNIONFS_ASSIGN(InodeRecord record, read_inode(from_.upper, number));
    UNIONFS_ASSIGN(const auto* below, lower_.names(number));
    UNIONFS_ASSIGN(const bool is_in_place, keeps_place(number, below));
    UNIONFS_ASSIGN(std::vector<NamedEntry> entries, read_directory(from_.upper, record));
    const Directory directory{std::move(record), places_.at(number).parent, below, is_in_place,
                              std::move(entries)};
    if (!directory.record.is_opaque() && !is_in_place) {
      violations_.add("directory inode {} is not where the lower has it, but not marked opaque",
                      number);
    }
    UNIONFS_TRY(check_entries(directory));
    check_dots(directory);
    return {};
  }

  // Whether whoever goes by path finds the lower directory of the same number.
  Result<bool> keeps_place(InodeNumber directory, const LowerNames::Names* below) {
    if (below == nullptr || numbers_.inode_whiteouts.test(directory)) {
      return false;
    }
    const Place& place = places_.at(directory);
    if (directory.value() == ext2::kRootInode) {
      return true;
    }
    UNIONFS_ASSIGN(const InodeNumber parent, lower_.parent_of(directory));
    if (parent != place.parent) {
      return false;
    }
    UNIONFS_ASSIGN(const auto* siblings, lower_.names(place.parent));
    if (siblings == nullptr) {
      return false;
    }
    return siblings->find(place.name) == directory;
  }

  Result<void> check_entries(const Directory& directory) {
    std::set<std::string> names;
    for (const NamedEntry& entry : directory.entries) {
      if (!names.insert(entry.name).second) {
        violations_.add("directory inode {}: the name {} is there twice", directory.number(),
                        quoted_name(entry.name));
      }
      UNIONFS_TRY(check_entry(directory, entry));
      UNIONFS_TRY(check_leaf(directory.record, entry));
    }
    if (!directory.record.is_opaque() && directory.is_in_place) {
      for (const auto& [lower_name, inode] : *directory.below) {
        if (!names.contains(lower_name)) {
          violations_.add(
              "directory inode {}: the lower's name {} is neither real, fallthru nor "
              "whiteout",
              directory.number(), quoted_name(lower_name));
        }
      }
    }
    return {};
  }

  Result<void> check_leaf(const InodeRecord& directory, const NamedEntry& entry) {
    if (!directory.has_index() || entry.name == "." || entry.name == "..") {
      return {};
    }
    UNIONFS_ASSIGN(const auto leaves, index_leaves(from_.upper, directory, entry.name));
    if (std::find(leaves.begin(), leaves.end(), entry.file_block) == leaves.end()) {
      violations_.add("directory inode {}: the name {} is not in the leaf of its hash",
                      directory.number(), quoted_name(entry.name));
    }
    return {};
  }

  void check_dots(const Directory& directory) {
    for (const auto& [dot, wanted] :
         {std::pair{".", directory.number()}, std::pair{"..", directory.parent}}) {
      const auto found = std::find_if(directory.entries.begin(), directory.entries.end(),
                                      [dot = dot](const auto& entry) { return entry.name == dot; });
      if (found == directory.entries.end() || found->kind != EntryKind::kReal ||
          found->inode != wanted) {
        violations_.add("directory inode {}: {} is not inode {}", directory.number(),
                        quoted_name(dot), wanted);
      }
    }
  }

  Result<void> check_entry(const Directory& directory, const NamedEntry& entry) {
    if (entry.kind == EntryKind::kReal) {
      return check_real(directory.number(), entry);
    }
    const auto below =
        directory.below == nullptr ? std::nullopt : directory.below->find(entry.name);
    if (entry.kind == EntryKind::kWhiteout) {
      if (!below || !directory.is_in_place) {
        violations_.add("directory inode {}: whiteout {} of a name that the lower does not have",
                        directory.number(), quoted_name(entry.name));
      }
      return {};
    }
    if (!below) {
      violations_.add("directory inode {}: fallthru {} to a name that the lower does not have",
                      directory.number(), quoted_name(entry.name));
      return {};
    }
    return check_fallthru(directory, entry, *below);
  }

  Result<void> check_fallthru(const Directory& directory, const NamedEntry& entry,
                              InodeNumber target) {
    const bool is_own = numbers_.own_inodes.test(target);
    if (is_own || numbers_.inode_whiteouts.test(target)) {
      violations_.add("directory inode {}: fallthru {} to inode {}, which is {}",
                      directory.number(), quoted_name(entry.name), target,
                      is_own ? "own" : "whited out");
      return {};
    }
    UNIONFS_TRY(lower_.check_index(directory.number(), entry.name));
    UNIONFS_ASSIGN(const InodeRecord record, lower_.inode(target));
    links_[directory.number()].in_merged += record.is_directory() ? 1 : 0;
    return {};
  }

  Result<void> check_real(InodeNumber directory, const NamedEntry& entry) {
    if (is_reserved(entry.inode)) {
      violations_.add("directory inode {}: {} names the reserved inode {}", directory,
                      quoted_name(entry.name), entry.inode);
      return {};
    }
    if (!numbers_.own_inodes.test(entry.inode)) {
      violations_.add("directory inode {}: {} names inode {}, which is not own", directory,
                      quoted_name(entry.name), entry.inode);
      return {};
    }
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, entry.inode));
    if (entry.file_type != record.file_type()) {
      violations_.add("directory inode {}: {} has type {}, but inode {} is of type {}", directory,
                      quoted_name(entry.name), entry.file_type, entry.inode, record.file_type());
    }
    if (entry.name == "." || entry.name == "..") {
      return {};
    }
    ++names_[entry.inode];
    if (record.is_directory()) {
      ++links_[directory].in_layer;
      ++links_[directory].in_merged;
      if (!places_.emplace(entry.inode, Place{directory, entry.name}).second) {
        violations_.add("directory inode {} is named twice", entry.inode);
        return {};
      }
      directories_.push_back(entry.inode);
    }
    return {};
  }

  // Turns numbers of subdirectories and of names into numbers of links.
  Result<void> check_links() {
    for (const auto& [inode, own] : files_.inodes) {
      if (is_reserved(inode)) {
        continue;
      }
      const auto named = names_.find(inode);
      const uint32_t names = named == names_.end() ? 0 : named->second;
      if (names == 0 && inode.value() != ext2::kRootInode) {
        violations_.add("inode {} is own, but not reached from the root", inode);
        continue;
      }
      constexpr uint32_t kDots = 2;
      LinkCounts& links = links_[inode];
      links.in_layer = own.is_directory ? links.in_layer + kDots : names;
      links.in_merged = own.is_directory ? links.in_merged + kDots : names;
      UNIONFS_ASSIGN(const InodeRecord record, read_inode(from_.upper, inode));
      if (record.raw().i_links_count != links.in_layer) {
        violations_.add_mendable("inode {}: i_links_count is {}, but it should be {}", inode,
                                 record.raw().i_links_count, links.in_layer);
      }
    }
    return {};
  }

  const CheckSources& from_;
  const uint32_t first_inode_;
  const LayerNumbers& numbers_;
  const OwnFiles& files_;
  LowerSide& lower_;
  Violations& violations_;
  LinksByInode links_;                    // of directories, at first: subdirectories
  std::map<InodeNumber, Place> places_;   // of directories
  std::vector<InodeNumber> directories_;  // in the order of the walk
  std::map<InodeNumber, uint32_t> names_;
};

}  // namespace

Result<LinksByInode> check_names(const CheckSources& sources, const LayerNumbers& numbers,
                                 const OwnFiles& files, LowerSide& lower, Violations& violations) {
  return NameCheck(sources, numbers, files, lower, violations).run();
}

}  // namespace unionfs
