// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/accounted.h"

#include <array>
#include <set>

#include "fsparse/block_map.h"
#include "overlay/changes/tree_changes.h"
#include "overlay/geometry/number_sets.h"
#include "overlay/tree/file_reader.h"
#include "overlay/upper/layer_tree.h"

namespace unionfs {
namespace {

// Calls visitor(InodeNumber) -> Result<void> for each inode of the set, in ascending order.
template <typename Visitor>
Result<void> for_each_inode(const Layout& layout, const GroupBits& bits, Visitor&& visitor) {
  for (uint32_t group = 0; group < layout.group_count(); ++group) {
    const ConstByteSpan of_group = bits.of(GroupNumber(group));
    const uint64_t count = of_group.empty() ? 0 : layout.inodes_per_group;
    for (uint64_t bit = 0; (bit = find_set_bit(of_group, bit, count)) < count; ++bit) {
      UNIONFS_TRY(
          visitor(InodeNumber(static_cast<uint32_t>(group * layout.inodes_per_group + bit + 1))));
    }
  }
  return {};
}

class AccountedCheck {
 public:
  explicit AccountedCheck(const AccountedSources& sources)
      : from_(sources),
        lower_(sources.layer.below().volume()),
        upper_(sources.layer.upper()),
        layout_(sources.layer.geometry().merged()) {
    for (PlannedFileId id = 0; id < from_.plan.files.size(); ++id) {
      if (const auto existing = from_.plan.files[id].existing) {
        ids_below_.emplace(*existing, id);
      }
    }
  }

  Result<void> run() {
    UNIONFS_TRY(check_changes());
    UNIONFS_TRY(check_own_inodes());
    UNIONFS_TRY(check_own_blocks());
    UNIONFS_TRY(check_inode_whiteouts());
    return check_block_whiteouts();
  }

 private:
  struct PathPlace {
    InodeNumber directory;
    std::string name;
  };
  using Directories = std::map<std::string, InodeNumber>;  // by path

  bool is_freed(InodeNumber inode) const {
    const auto left = from_.tree.left_links.find(inode);
    const auto id = ids_below_.find(inode);
    return from_.tree.gone_directories.contains(inode) ||
           (left != from_.tree.left_links.end() && left->second == 0) ||
           (id != ids_below_.end() && from_.tree.gone.contains(id->second));
  }
  static Result<PathPlace> place_of(const Volume& volume, const std::string& path,
                                    Directories& known);
  bool is_name_planned(const std::map<InodeNumber, PlannedFileId>& ids,
                       const PathPlace& place) const;
  Result<void> check_changes();
  Result<void> check_change(const Change& change);
  Result<void> check_lower_name(const std::string& path);
  Result<void> check_merged_name(const std::string& path);
  Result<void> check_same_name(const Change& change) const;
  Result<bool> has_stayed(const PathPlace& place) const;
  Result<void> check_same_content(const std::string& path, InodeNumber inode) const;
  Result<void> check_own_inodes();
  Result<void> check_own_blocks();
  Result<void> check_inode_whiteouts();
  Result<void> check_block_whiteouts();

  const AccountedSources from_;
  const Volume& lower_;
  const Volume& upper_;
  const Layout& layout_;
  std::map<InodeNumber, PlannedFileId> ids_below_;  // planned files that exist
  Directories lower_directories_{{"", kRootDirectory}};
  Directories merged_directories_{{"", kRootDirectory}};
};

// ---- changes of names and contents ------------------------------------------------

// The directory that a path goes through last, and the name in it.  Each directory is looked
// for once.
Result<AccountedCheck::PathPlace> AccountedCheck::place_of(const Volume& volume,
                                                           const std::string& path,
                                                           Directories& known) {
  const size_t slash = path.rfind('/');
  const std::string directory = path.substr(0, slash);
  // From the longest part that is known on.
  size_t end = directory.size();
  auto found = known.find(directory);
  while (found == known.end()) {
    end = directory.rfind('/', end - 1);
    found = known.find(directory.substr(0, end));
  }
  InodeNumber inode = found->second;
  while (end < directory.size()) {
    const size_t next = std::min(directory.find('/', end + 1), directory.size());
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume, inode));
    UNIONFS_ASSIGN(const auto entry,
                   find_name(volume, record, directory.substr(end + 1, next - end - 1)));
    if (!entry || entry->kind != EntryKind::kReal) {
      return corrupt("{}: {}: is said to be changed, but is not there", volume.name(),
                     quoted_name(path));
    }
    inode = entry->inode;
    known.emplace(directory.substr(0, next), inode);
    end = next;
  }
  return PathPlace{inode, path.substr(slash + 1)};
}

bool AccountedCheck::is_name_planned(const std::map<InodeNumber, PlannedFileId>& ids,
                                     const PathPlace& place) const {
  const auto id = ids.find(place.directory);
  if (id == ids.end()) {
    return false;
  }
  const auto name = from_.plan.names.find({id->second, place.name});
  return name != from_.plan.names.end() &&
         from_.tree.is_changed(from_.plan, name->first, name->second);
}

Result<void> AccountedCheck::check_changes() {
  return for_each_change(from_.layer, from_.merged,
                         [this](const Change& change) { return check_change(change); });
}

Result<void> AccountedCheck::check_change(const Change& change) {
  switch (change.kind) {
    case ChangeKind::kDeleted:
      return check_lower_name(change.path);
    case ChangeKind::kAdded:
      return check_merged_name(change.path);
    case ChangeKind::kRenamed:
      UNIONFS_TRY(check_lower_name(change.from));
      return check_merged_name(change.path);
    case ChangeKind::kModified:
    case ChangeKind::kMetadata:
      break;
  }
  return change.below == change.inode ? check_same_name(change) : check_merged_name(change.path);
}

Result<void> AccountedCheck::check_lower_name(const std::string& path) {
  UNIONFS_ASSIGN(const PathPlace place, place_of(lower_, path, lower_directories_));
  if (from_.tree.gone_directories.contains(place.directory) || is_name_planned(ids_below_, place)) {
    return {};
  }
  UNIONFS_ASSIGN(const bool stayed, has_stayed(place));
  if (stayed) {
    return {};
  }
  return corrupt("{}: {}: is gone, which was not planned", from_.merged.name(), quoted_name(path));
}

Result<void> AccountedCheck::check_merged_name(const std::string& path) {
  UNIONFS_ASSIGN(const PathPlace place, place_of(from_.merged, path, merged_directories_));
  if (is_name_planned(from_.found.ids, place)) {
    return {};
  }
  UNIONFS_ASSIGN(const bool stayed, has_stayed(place));
  if (stayed) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, place.directory));
    UNIONFS_ASSIGN(const auto entry, find_name(lower_, record, place.name));
    return check_same_content(path, entry->inode);
  }
  return corrupt("{}: {}: leads to another file, which was not planned", from_.merged.name(),
                 quoted_name(path));
}

// Whether the same directory leads to the same inode under this name, wherever it lies now.
// changes_of() says so only of a directory that it can prove to be the same; where the directory
// lies is a question about its own name.
Result<bool> AccountedCheck::has_stayed(const PathPlace& place) const {
  if (place.directory.value() > lower_.layout().inode_count()) {
    return false;
  }
  std::array<InodeNumber, 2> inodes;
  const std::array<const Volume*, 2> volumes = {&lower_, &from_.merged};
  for (size_t side = 0; side < volumes.size(); ++side) {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(*volumes[side], place.directory));
    if (!record.is_directory()) {
      return false;
    }
    UNIONFS_ASSIGN(const auto entry, find_name(*volumes[side], record, place.name));
    if (!entry || entry->kind != EntryKind::kReal) {
      return false;
    }
    inodes[side] = entry->inode;
  }
  return inodes[0] == inodes[1];
}

// Of a file whose content nobody else has held against the plan: one that is not planned is not
// own, and so the lower's.
Result<void> AccountedCheck::check_same_content(const std::string& path, InodeNumber inode) const {
  const auto id = from_.found.ids.find(inode);
  if (id == from_.found.ids.end() || from_.plan.files[id->second].content) {
    return {};
  }
  UNIONFS_ASSIGN(InodeRecord before, read_inode(lower_, inode));
  UNIONFS_ASSIGN(InodeRecord now, read_inode(from_.merged, inode));
  bool is_same = before.is_directory() || before.raw().i_block == now.raw().i_block;
  if (before.is_regular() && now.is_regular()) {
    FileReader below(lower_, std::move(before));
    FileReader present(from_.merged, std::move(now));
    uint64_t bytes = 0;
    UNIONFS_ASSIGN(is_same, have_same_bytes(below, present, bytes));
  }
  return is_same ? Result<void>()
                 : corrupt("{}: {}: has other content, which was not planned", from_.merged.name(),
                           quoted_name(path));
}

// Of a name that leads to the same inode as before.
Result<void> AccountedCheck::check_same_name(const Change& change) const {
  const auto id = from_.found.ids.find(change.inode);
  if (id == from_.found.ids.end()) {
    return corrupt("{}: {}: is changed, which was not planned", from_.merged.name(),
                   quoted_name(change.path));
  }
  const PlannedFile& file = from_.plan.files[id->second];
  if (change.is_content_changed && file.existing && !file.content) {
    return corrupt("{}: {}: has other content, which was not planned", from_.merged.name(),
                   quoted_name(change.path));
  }
  return {};
}

// ---- what the layer owns ------------------------------------------------------------

// Each is a file that the plan has or takes a name from, or a directory on the way to one.
Result<void> AccountedCheck::check_own_inodes() {
  std::map<InodeNumber, std::vector<InodeNumber>> directories_of;
  UNIONFS_TRY(walk_layer(
      upper_, {[](const LayerDirectory&) { return Result<void>(); },
               [&](const LayerDirectory& directory, const NamedEntry& entry) -> Result<void> {
                 if (entry.kind == EntryKind::kReal) {
                   directories_of[entry.inode].push_back(directory.record.number());
                 }
                 return {};
               }}));
  std::vector<InodeNumber> left;
  for (const auto& entry : from_.found.ids) {
    left.push_back(entry.first);
  }
  for (const auto& [inode, links] : from_.tree.left_links) {
    if (links > 0) {
      left.push_back(inode);
    }
  }
  std::set<InodeNumber> accounted;
  while (!left.empty()) {
    const InodeNumber inode = left.back();
    left.pop_back();
    if (accounted.insert(inode).second && directories_of.contains(inode)) {
      const auto& directories = directories_of[inode];
      left.insert(left.end(), directories.begin(), directories.end());
    }
  }
  return for_each_inode(layout_, from_.layer.layer().own_inodes(),
                        [&](InodeNumber inode) -> Result<void> {
                          if (inode.value() < layout_.first_inode || accounted.contains(inode)) {
                            return {};
                          }
                          return corrupt("{}: inode {}: is the layer's own, which was not planned",
                                         upper_.name(), inode);
                        });
}

Result<void> AccountedCheck::check_own_blocks() {
  const Layer& layer = from_.layer.layer();
  BlockSet claimed(layout_);
  UNIONFS_TRY(for_each_inode(layout_, layer.own_inodes(), [&](InodeNumber inode) -> Result<void> {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(upper_, inode));
    if (const auto xattrs = upper_.file_block(record.file_acl())) {
      claimed.set(*xattrs);
    }
    return walk_block_map(upper_, record, [&](BlockRole, BlockNumber block) {
      claimed.set(block);
      return Result<WalkStep>(WalkStep::kContinue);
    });
  }));
  return BlockSet(layout_, layer.own_blocks()).for_each([&](BlockNumber block) -> Result<void> {
    if (claimed.test(block)) {
      return {};
    }
    return corrupt("{}: block {}: is the layer's own, but none of its inodes has it", upper_.name(),
                   block);
  });
}

// ---- what the layer hides -----------------------------------------------------------

Result<void> AccountedCheck::check_inode_whiteouts() {
  UsedNumbers used(lower_);
  return for_each_inode(
      layout_, from_.layer.layer().inode_whiteouts(), [&](InodeNumber inode) -> Result<void> {
        UNIONFS_ASSIGN(const bool is_below, used.is_used(inode));
        // What is left of a file in a free slot may be hidden, too.
        const bool is_reserved = inode.value() < layout_.first_inode;
        if (!is_below || is_reserved || is_freed(inode) || from_.found.ids.contains(inode)) {
          return {};
        }
        return corrupt("{}: inode {}: is whited out, which was not planned", upper_.name(), inode);
      });
}

Result<void> AccountedCheck::check_block_whiteouts() {
  BlockSet expected(layout_);
  const auto expect_blocks_of = [&](InodeNumber inode) -> Result<void> {
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, inode));
    if (const auto xattrs = lower_.file_block(record.file_acl())) {
      expected.set(*xattrs);
    }
    return walk_block_map(lower_, record, [&](BlockRole, BlockNumber block) {
      expected.set(block);
      return Result<WalkStep>(WalkStep::kContinue);
    });
  };
  for (const auto& entry : ids_below_) {
    UNIONFS_TRY(expect_blocks_of(entry.first));
  }
  for (const InodeNumber directory : from_.tree.gone_directories) {
    UNIONFS_TRY(expect_blocks_of(directory));
  }
  for (const auto& [inode, links] : from_.tree.left_links) {
    if (links == 0) {
      UNIONFS_TRY(expect_blocks_of(inode));
    }
  }
  // A larger image has no room for the lower's resize inode.
  UNIONFS_TRY(
      for_each_inode(layout_, from_.layer.layer().inode_whiteouts(), [&](InodeNumber inode) {
        return inode.value() < layout_.first_inode ? expect_blocks_of(inode) : Result<void>();
      }));
  const BlockSet hidden(layout_, from_.layer.layer().block_whiteouts());
  return hidden.for_each([&](BlockNumber block) -> Result<void> {
    if (expected.test(block)) {
      return {};
    }
    return corrupt("{}: block {}: is whited out, but is no planned file's", upper_.name(), block);
  });
}

}  // namespace

Result<void> check_accounted(const AccountedSources& sources) {
  return AccountedCheck(sources).run();
}

}  // namespace unionfs
