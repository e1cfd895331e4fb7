// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/unplanned_check.h"

#include <array>
#include <map>
#include <set>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/host/cancellation.h"

namespace unionfs {
namespace {

using DirectoryNames = std::map<std::string, InodeNumber>;

class UnplannedCheck {
 public:
  UnplannedCheck(const Plan& plan, const Volume& lower, const Volume& merged,
                 const std::atomic<bool>& is_cancelled);

  Result<uint64_t> run();

 private:
  struct Directory {
    InodeNumber inode;
    std::string path;  // in the lower; of the root empty
  };

  Result<void> learn_changed_links();
  Result<DirectoryNames> names_of(const Volume& volume, InodeNumber directory) const;
  bool is_planned(InodeNumber directory, const std::string& name) const;
  Result<void> compare_directory(const Directory& directory);
  Result<void> compare_file(const std::string& path, InodeNumber inode);
  Result<void> compare_blocks(const std::string& path, const InodeRecord& record);
  static Failure differs(const std::string& path, const char* what) {
    return corrupt("new merged image: {}: {}, though nothing planned it", quoted_name(path), what);
  }

  const Plan& plan_;
  const Volume& lower_;
  const Volume& merged_;
  const std::atomic<bool>& is_cancelled_;
  std::map<InodeNumber, PlannedFileId> planned_;  // by the lower's inodes
  std::set<InodeNumber> moved_directories_;       // and those whose names are planned anew
  std::set<InodeNumber> with_other_links_;        // files that lose or get a name
  std::set<InodeNumber> seen_;
  std::vector<Directory> left_;
  uint64_t bytes_ = 0;
};

UnplannedCheck::UnplannedCheck(const Plan& plan, const Volume& lower, const Volume& merged,
                               const std::atomic<bool>& is_cancelled)
    : plan_(plan), lower_(lower), merged_(merged), is_cancelled_(is_cancelled) {
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    if (plan_.files[id].existing) {
      planned_.emplace(*plan_.files[id].existing, id);
    }
  }
  for (const auto& [key, name] : plan_.names) {
    const PlannedFile* file = name.file ? &plan_.files[*name.file] : nullptr;
    if (file != nullptr && file->existing && file->state.is_directory()) {
      moved_directories_.insert(*file->existing);
    }
  }
}

Result<uint64_t> UnplannedCheck::run() {
  UNIONFS_TRY(learn_changed_links());
  left_.push_back({kRootDirectory, ""});
  while (!left_.empty()) {
    UNIONFS_TRY(check_not_cancelled(is_cancelled_));
    const Directory directory = std::move(left_.back());
    left_.pop_back();
    UNIONFS_TRY(compare_directory(directory));
  }
  return bytes_;
}

// What a planned name led to before it was led elsewhere, with what went along in a directory.
Result<void> UnplannedCheck::learn_changed_links() {
  std::vector<InodeNumber> led_elsewhere;
  for (const auto& [inode, id] : planned_) {
    if (!plan_.files[id].state.is_directory()) {
      continue;
    }
    UNIONFS_ASSIGN(const DirectoryNames names, names_of(lower_, inode));
    for (const auto& [name, child] : names) {
      if (is_planned(inode, name)) {
        led_elsewhere.push_back(child);
      }
    }
  }
  while (!led_elsewhere.empty()) {
    const InodeNumber inode = led_elsewhere.back();
    led_elsewhere.pop_back();
    UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, inode));
    const bool is_new = with_other_links_.insert(inode).second;
    if (is_new && record.is_directory() && !moved_directories_.contains(inode)) {
      UNIONFS_ASSIGN(const DirectoryNames names, names_of(lower_, inode));
      for (const auto& [name, child] : names) {
        led_elsewhere.push_back(child);
      }
    }
  }
  return {};
}

Result<DirectoryNames> UnplannedCheck::names_of(const Volume& volume, InodeNumber directory) const {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(volume, directory));
  UNIONFS_ASSIGN(const std::vector<NamedEntry> entries, read_directory(volume, record));
  DirectoryNames names;
  for (const NamedEntry& entry : entries) {
    if (entry.kind == EntryKind::kReal && entry.name != "." && entry.name != "..") {
      names.emplace(entry.name, entry.inode);
    }
  }
  return names;
}

bool UnplannedCheck::is_planned(InodeNumber directory, const std::string& name) const {
  const auto found = planned_.find(directory);
  return found != planned_.end() && plan_.names.contains({found->second, name});
}

Result<void> UnplannedCheck::compare_directory(const Directory& directory) {
  UNIONFS_ASSIGN(const DirectoryNames before, names_of(lower_, directory.inode));
  UNIONFS_ASSIGN(const DirectoryNames now, names_of(merged_, directory.inode));
  for (const auto& [name, inode] : now) {
    if (!before.contains(name) && !is_planned(directory.inode, name)) {
      return differs(directory.path + "/" + name, "is new");
    }
  }
  for (const auto& [name, inode] : before) {
    const std::string path = directory.path + "/" + name;
    if (is_planned(directory.inode, name)) {
      // A directory that was moved keeps what the plan does not name.
      if (moved_directories_.contains(inode) && seen_.insert(inode).second) {
        left_.push_back({inode, path});
      }
      continue;
    }
    const auto found = now.find(name);
    if (found == now.end() || found->second != inode) {
      return differs(path, found == now.end() ? "is gone" : "leads to another inode");
    }
    if (seen_.insert(inode).second) {
      UNIONFS_TRY(compare_file(path, inode));
    }
  }
  return {};
}

Result<void> UnplannedCheck::compare_file(const std::string& path, InodeNumber inode) {
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  UNIONFS_ASSIGN(const InodeRecord before, read_inode(lower_, inode));
  UNIONFS_ASSIGN(const InodeRecord now, read_inode(merged_, inode));
  if (before.is_directory()) {
    left_.push_back({inode, path});
  }
  if (planned_.contains(inode)) {
    return {};  // its own planned state was checked
  }
  if (with_other_links_.contains(inode)) {
    // Its number of names is another, and the time of that.
    if (now.raw().i_mode.value() != before.raw().i_mode.value() ||
        now.size_bytes() != before.size_bytes() || now.raw().i_block != before.raw().i_block) {
      return differs(path, "has another record");
    }
  } else if (!same_bytes(now.bytes(), before.bytes())) {
    return differs(path, "has another record");
  }
  UNIONFS_ASSIGN(const std::vector<Attribute> old_attributes, read_attributes(lower_, before));
  UNIONFS_ASSIGN(const std::vector<Attribute> new_attributes, read_attributes(merged_, now));
  if (old_attributes != new_attributes) {
    return differs(path, "has other extended attributes");
  }
  return before.is_directory() ? Result<void>() : compare_blocks(path, before);
}

// The records lead to the same blocks.
Result<void> UnplannedCheck::compare_blocks(const std::string& path, const InodeRecord& record) {
  const uint32_t block_size = lower_.layout().block_size_bytes;
  std::array<std::byte, ext2::kMaxBlockSizeBytes> before = {};
  std::array<std::byte, ext2::kMaxBlockSizeBytes> now = {};
  return walk_block_map(lower_, record, [&](BlockRole, BlockNumber block) -> Result<WalkStep> {
    UNIONFS_TRY(check_not_cancelled(is_cancelled_));
    UNIONFS_TRY(lower_.read_block(block, ByteSpan(before).first(block_size)));
    UNIONFS_TRY(merged_.read_block(block, ByteSpan(now).first(block_size)));
    if (!same_bytes(now, before)) {
      return differs(path, "has another content");
    }
    bytes_ += block_size;
    return WalkStep::kContinue;
  });
}

}  // namespace

Result<uint64_t> check_unplanned(const Plan& plan, const Volume& lower, const Volume& merged,
                                 const std::atomic<bool>& is_cancelled) {
  return UnplannedCheck(plan, lower, merged, is_cancelled).run();
}

}  // namespace unionfs
