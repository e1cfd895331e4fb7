// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/layer_tree.h"

#include <algorithm>
#include <set>

namespace unionfs {

Result<std::vector<NamedEntry>> sorted_entries(const Volume& volume, const InodeRecord& directory) {
  UNIONFS_ASSIGN(std::vector<NamedEntry> entries, read_directory(volume, directory));
  std::erase_if(entries,
                [](const NamedEntry& entry) { return entry.name == "." || entry.name == ".."; });
  std::sort(entries.begin(), entries.end(),
            [](const NamedEntry& a, const NamedEntry& b) { return a.name < b.name; });
  return entries;
}

Result<void> walk_layer(const Volume& upper, const LayerTreeVisitor& visitor) {
  struct Entered {
    LayerDirectory directory;
    size_t next = 0;
  };
  std::vector<Entered> levels;
  std::set<InodeNumber> seen;
  const auto enter = [&](InodeNumber inode, std::string path) -> Result<void> {
    if (!seen.insert(inode).second) {
      return corrupt("{}: directory inode {} is named twice", upper.name(), inode);
    }
    UNIONFS_ASSIGN(InodeRecord record, read_inode(upper, inode));
    UNIONFS_ASSIGN(std::vector<NamedEntry> entries, sorted_entries(upper, record));
    levels.push_back({{std::move(record), std::move(path), static_cast<uint32_t>(levels.size()),
                       std::move(entries)}});
    return visitor.on_directory(levels.back().directory);
  };
  UNIONFS_TRY(enter(InodeNumber(ext2::kRootInode), ""));
  while (!levels.empty()) {
    Entered& level = levels.back();
    if (level.next == level.directory.entries.size()) {
      levels.pop_back();
      continue;
    }
    const NamedEntry& entry = level.directory.entries[level.next++];
    UNIONFS_TRY(visitor.on_name(level.directory, entry));
    if (entry.kind == EntryKind::kReal && entry.file_type == ext2::kFileTypeDirectory) {
      UNIONFS_TRY(enter(entry.inode, level.directory.path + "/" + entry.name));
    }
  }
  return {};
}

}  // namespace unionfs
