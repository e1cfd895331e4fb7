// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/layer_tree.h"

#include <algorithm>

#include "fsparse/entered_directories.h"

namespace unionfs {

Result<std::vector<NamedEntry>> sorted_entries(const Volume& volume, const InodeRecord& directory) {
  UNIONFS_ASSIGN(std::vector<NamedEntry> entries, read_directory(volume, directory));
  std::erase_if(entries,
                [](const NamedEntry& entry) { return entry.name == "." || entry.name == ".."; });
  std::sort(entries.begin(), entries.end(),
            [](const NamedEntry& a, const NamedEntry& b) { return a.name < b.name; });
  return entries;
}

namespace {

// The walk keeps one path, which grows with each directory that is entered and
// is cut back with each that is left: a path for each level would take memory
// by the square of the depth.
class LayerWalk {
 public:
  LayerWalk(const Volume& upper, const LayerTreeVisitor& visitor)
      : upper_(upper), visitor_(visitor), entered_(upper) {}

  Result<void> run() {
    UNIONFS_TRY(enter(kRootDirectory));
    while (!levels_.empty()) {
      Level& level = levels_.back();
      if (level.next == level.entries.size()) {
        path_.resize(level.parent_path_length);
        levels_.pop_back();
        continue;
      }
      const NamedEntry& entry = level.entries[level.next++];
      UNIONFS_TRY(visitor_.on_name(current(), entry));
      if (entry.kind == EntryKind::kReal && entry.file_type == ext2::kFileTypeDirectory) {
        UNIONFS_TRY(enter(entry.inode, entry.name));
      }
    }
    return {};
  }

 private:
  struct Level {
    InodeRecord record;
    std::vector<NamedEntry> entries;
    size_t parent_path_length = 0;
    size_t next = 0;  // index of the entry that is visited next
  };

  LayerDirectory current() const {
    const Level& level = levels_.back();
    return {level.record, path_, static_cast<uint32_t>(levels_.size() - 1), level.entries};
  }

  // Enters the root, or a directory of this name in the one on top.
  Result<void> enter(InodeNumber inode, const std::string& name = "") {
    UNIONFS_TRY(entered_.enter(inode));
    UNIONFS_ASSIGN(InodeRecord record, read_inode(upper_, inode));
    UNIONFS_ASSIGN(std::vector<NamedEntry> entries, sorted_entries(upper_, record));
    const size_t parent_path_length = path_.size();
    if (!levels_.empty()) {
      path_ += "/" + name;
    }
    levels_.push_back({std::move(record), std::move(entries), parent_path_length});
    return visitor_.on_directory(current());
  }

  const Volume& upper_;
  const LayerTreeVisitor& visitor_;
  std::string path_;
  std::vector<Level> levels_;  // the directories on the path
  EnteredDirectories entered_;
};

}  // namespace

Result<void> walk_layer(const Volume& upper, const LayerTreeVisitor& visitor) {
  return LayerWalk(upper, visitor).run();
}

}  // namespace unionfs
