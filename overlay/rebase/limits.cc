// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/limits.h"

#include <algorithm>

#include "fsparse/block_map.h"
#include "overlay/changes/planned_content.h"
#include "overlay/changes/planned_tree.h"

namespace unionfs {
namespace {

// The header of an xattr block, an entry without its name, and the mark at the end of a list.
constexpr uint64_t kXattrHeaderBytes = 32;
constexpr uint64_t kXattrEntryBytes = 16;
constexpr uint64_t kXattrMarkBytes = 4;
constexpr uint64_t kXattrPadBytes = 4;
// What a new inode has behind its first 128 bytes.
constexpr uint64_t kExtraFieldBytes = 32;

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

class LimitFinder {
 public:
  LimitFinder(const Plan& plan, const Volume& theirs, const Geometry& geometry)
      : plan_(plan),
        theirs_(theirs),
        geometry_(geometry),
        block_size_(geometry.merged().block_size_bytes),
        paths_(plan.files.size()),
        added_bytes_(plan.files.size()) {}

  Result<FoundLimits> run();

 private:
  void learn_names();
  Result<void> look_at(PlannedFileId id);
  Result<void> look_at_content(PlannedFileId id);
  Result<void> look_at_bytes(PlannedFileId id, FileBytes& bytes);
  Result<uint64_t> data_blocks_of(const PlannedContent& content, FileBytes& bytes) const;
  Result<void> look_at_attributes(PlannedFileId id);
  void look_at_links(PlannedFileId id);
  void look_at_times(PlannedFileId id);
  Result<void> look_at_names(PlannedFileId id);
  Result<void> count_freed();
  Result<void> count_freed_of(InodeNumber inode);
  void compare_sums();
  uint64_t blocks_of(const InodeRecord& record, uint32_t block_size) const {
    return divide_round_up(uint64_t{record.raw().i_blocks} * ext2::kSectorSizeBytes, block_size);
  }
  void add(const std::string& path, std::string text);
  void add(PlannedFileId id, std::string text) { add(paths_[id], std::move(text)); }

  const Plan& plan_;
  const Volume& theirs_;
  const Geometry& geometry_;
  const uint32_t block_size_;
  PlannedTree tree_;
  std::vector<std::string> paths_;     // of the plan's files
  std::vector<uint64_t> added_bytes_;  // of the plan's directories: of new entries
  uint64_t needed_blocks_ = 0;
  uint64_t needed_inodes_ = 0;
  uint64_t freed_blocks_ = 0;
  uint64_t freed_inodes_ = 0;
  uint64_t rounded_files_ = 0;
  FoundLimits found_;
};

void LimitFinder::add(const std::string& path, std::string text) {
  Conflict conflict;
  conflict.conflict_class = ConflictClass::kLimit;
  conflict.path = path;
  conflict.text = std::move(text);
  found_.conflicts.push_back(std::move(conflict));
}

Result<FoundLimits> LimitFinder::run() {
  UNIONFS_ASSIGN(tree_, plan_tree(plan_, theirs_));
  learn_names();
  for (PlannedFileId id = 0; id < plan_.files.size(); ++id) {
    if (!tree_.gone.contains(id)) {
      UNIONFS_TRY(look_at(id));
    }
  }
  UNIONFS_TRY(count_freed());
  compare_sums();
  std::stable_sort(found_.conflicts.begin(), found_.conflicts.end(),
                   [](const Conflict& a, const Conflict& b) { return a.path < b.path; });
  if (rounded_files_ > 0) {
    found_.notes.push_back(
        {"times-rounded", "",
         fmt::format("the new lower's inodes keep whole seconds only: the times of {} files are "
                     "cut to them",
                     rounded_files_)});
  }
  return std::move(found_);
}

void LimitFinder::learn_names() {
  paths_[kPlannedRoot] = "/";
  for (const auto& [key, name] : plan_.names) {
    if (paths_[key.directory].empty()) {
      paths_[key.directory] = parent_of(name.path);
    }
    if (name.file && paths_[*name.file].empty()) {
      paths_[*name.file] = name.path;
    }
    if (name.file && !tree_.former.contains(&key)) {
      added_bytes_[key.directory] += ext2::entry_size_bytes(static_cast<uint32_t>(key.name.size()));
    }
  }
}

Result<void> LimitFinder::look_at(PlannedFileId id) {
  const PlannedFile& file = plan_.files[id];
  needed_inodes_ += file.existing ? 0 : 1;
  if (file.content) {
    UNIONFS_TRY(look_at_content(id));
  }
  look_at_links(id);
  look_at_times(id);
  UNIONFS_TRY(look_at_attributes(id));
  return file.state.is_directory() ? look_at_names(id) : Result<void>();
}

Result<void> LimitFinder::look_at_content(PlannedFileId id) {
  UNIONFS_ASSIGN(const FileContent content, content_of(plan_.files[id]));
  if (content.type == ext2::kModeSymlink) {
    const size_t length = content.target.size();
    needed_blocks_ += length < ext2::kFastSymlinkBytes ? 0 : 1;
    if (length >= block_size_) {
      add(id, fmt::format("its target of {} bytes is not shorter than a block of {} bytes", length,
                          block_size_));
    }
    return {};
  }
  return content.type == ext2::kModeRegular ? look_at_bytes(id, *content.bytes) : Result<void>();
}

// Of an inode, its i_blocks says it without reading any pointer.
Result<uint64_t> LimitFinder::data_blocks_of(const PlannedContent& content,
                                             FileBytes& bytes) const {
  if (content.image != nullptr) {
    const uint32_t source_size = content.image->layout().block_size_bytes;
    UNIONFS_ASSIGN(const InodeRecord from, read_inode(*content.image, content.inode));
    return blocks_of(from, source_size) * std::max<uint64_t>(1, source_size / block_size_);
  }
  uint64_t blocks = 0;
  uint64_t behind = 0;  // the first block that is not counted
  UNIONFS_ASSIGN(std::optional<ByteRange> data, bytes.next_data(0));
  while (data) {
    const uint64_t end = divide_round_up(data->end, block_size_);
    blocks += end - std::min(end, std::max(behind, data->begin / block_size_));
    behind = std::max(behind, end);
    UNIONFS_ASSIGN(data, bytes.next_data(data->end));
  }
  return blocks;
}

Result<void> LimitFinder::look_at_bytes(PlannedFileId id, FileBytes& bytes) {
  const PlannedFile& file = plan_.files[id];
  const uint64_t size_bytes = bytes.size_bytes();
  const uint32_t pointers = geometry_.merged().pointers_per_block();
  const uint64_t file_blocks = divide_round_up(size_bytes, block_size_);
  UNIONFS_ASSIGN(const uint64_t data_blocks, data_blocks_of(*file.content, bytes));
  const uint64_t most =
      most_blocks_of_file(file_blocks, std::min(file_blocks, data_blocks), pointers);
  const uint64_t most_sectors = UINT32_MAX / (block_size_ / ext2::kSectorSizeBytes);
  if (file_blocks > max_file_blocks(pointers) || most > most_sectors) {
    add(id, fmt::format("its {} bytes are more than a file with blocks of {} bytes can have",
                        size_bytes, block_size_));
    return {};
  }
  uint64_t present = 0;
  if (file.existing) {
    UNIONFS_ASSIGN(const InodeRecord before, read_inode(theirs_, *file.existing));
    present = before.is_regular() ? blocks_of(before, block_size_) : 0;
  }
  needed_blocks_ += most - std::min(most, present);
  return {};
}

Result<void> LimitFinder::look_at_attributes(PlannedFileId id) {
  const PlannedFile& file = plan_.files[id];
  if (file.state.attributes.empty()) {
    return {};
  }
  if (file.existing) {
    UNIONFS_ASSIGN(const FileState before, file_state_of(theirs_, *file.existing));
    if (before.attributes == file.state.attributes) {
      return {};
    }
  }
  const uint32_t inode_size = geometry_.merged().inode_size_bytes;
  const AttributeRoom room = room_for_attributes(file.state.attributes, inode_size, block_size_);
  needed_blocks_ += room.needs_block ? 1 : 0;
  if (!room.fits) {
    add(id, fmt::format("its {} extended attributes do not fit into an inode of {} bytes and a "
                        "block of {} bytes",
                        file.state.attributes.size(), inode_size, block_size_));
  }
  return {};
}

void LimitFinder::look_at_links(PlannedFileId id) {
  if (!plan_.files[id].state.is_directory() && tree_.links[id] > ext2::kMaxLinks) {
    add(id, fmt::format("its {} names are more than the {} that an inode counts", tree_.links[id],
                        ext2::kMaxLinks));
  }
}

void LimitFinder::look_at_times(PlannedFileId id) {
  const uint32_t inode_size = geometry_.merged().inode_size_bytes;
  const FileState& state = plan_.files[id].state;
  bool is_rounded = false;
  for (const FileTime& time : {state.modified, state.changed, state.accessed}) {
    if (!can_keep_seconds(time, inode_size)) {
      add(id, fmt::format("its times are too late or too early for an inode of {} bytes, which "
                          "counts from 1901 to 2038",
                          inode_size));
      return;
    }
    is_rounded |= !can_keep_time(time, inode_size);
  }
  rounded_files_ += is_rounded ? 1 : 0;
}

// A new index fills its leaves to three quarters, and has a root and nodes.
Result<void> LimitFinder::look_at_names(PlannedFileId id) {
  const PlannedFile& file = plan_.files[id];
  uint64_t bytes = added_bytes_[id];
  uint64_t present = 0;
  if (file.existing && bytes > 0) {
    UNIONFS_ASSIGN(const InodeRecord before, read_inode(theirs_, *file.existing));
    bytes += before.size_bytes();
    present = blocks_of(before, block_size_);
  }
  if (file.existing && bytes == 0) {
    return {};
  }
  const uint64_t leaf_bytes = block_size_ / 4 * 3 - ext2::entry_size_bytes(ext2::kMaxNameBytes);
  const uint64_t leaves = divide_round_up(bytes, leaf_bytes) + 1;
  const uint32_t pointers = geometry_.merged().pointers_per_block();
  const uint64_t blocks = leaves == 2 && !file.existing ? 1 : leaves + 1 + leaves / 64;
  const uint64_t most = most_blocks_of_file(blocks, blocks, pointers);
  needed_blocks_ += most - std::min(most, present);
  return {};
}

// ---- what goes makes room for what comes ------------------------------------------

Result<void> LimitFinder::count_freed() {
  for (const auto& [inode, links] : tree_.left_links) {
    if (links == 0) {
      UNIONFS_TRY(count_freed_of(inode));
    }
  }
  for (const InodeNumber directory : tree_.gone_directories) {
    UNIONFS_TRY(count_freed_of(directory));
  }
  for (const PlannedFileId id : tree_.gone) {
    const PlannedFile& file = plan_.files[id];
    if (file.existing && !file.state.is_directory()) {
      UNIONFS_TRY(count_freed_of(*file.existing));
    }
  }
  return {};
}

Result<void> LimitFinder::count_freed_of(InodeNumber inode) {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(theirs_, inode));
  // An xattr block may be another file's, too.
  const uint64_t blocks = blocks_of(record, block_size_);
  freed_blocks_ += blocks - (record.file_acl().is_none() || blocks == 0 ? 0 : 1);
  ++freed_inodes_;
  return {};
}

void LimitFinder::compare_sums() {
  uint64_t free_blocks = freed_blocks_;
  uint64_t free_inodes = freed_inodes_;
  for (const Group& group : geometry_.groups()) {
    free_blocks += group.free_blocks_count;
    free_inodes += group.free_inodes_count;
  }
  if (needed_blocks_ > free_blocks) {
    add("", fmt::format("the layer needs at most {} blocks of {} bytes more, and {} are free; "
                        "--size with a larger SIZE gives more",
                        needed_blocks_, block_size_, free_blocks));
  }
  if (needed_inodes_ > free_inodes) {
    add("", fmt::format("the layer needs {} inodes more, and {} are free; --size with a larger "
                        "SIZE gives more",
                        needed_inodes_, free_inodes));
  }
}

}  // namespace

Result<FoundLimits> find_limits(const Plan& plan, const Volume& theirs, const Geometry& geometry) {
  return LimitFinder(plan, theirs, geometry).run();
}

uint64_t most_blocks_of_file(uint64_t file_blocks, uint64_t data_blocks,
                             uint32_t pointers_per_block) {
  const uint64_t twice = blocks_below(pointers_per_block, 2);
  uint64_t rest = file_blocks - std::min<uint64_t>(file_blocks, ext2::kDirectBlocks);
  uint64_t indirect = 0;  // of a file without holes
  for (Level level = 1; level <= kMaxLevel && rest > 0; ++level) {
    const uint64_t below = std::min(rest, blocks_below(pointers_per_block, level));
    indirect += 1 + (level > 1 ? divide_round_up(below, pointers_per_block) : 0) +
                (level > 2 ? divide_round_up(below, twice) : 0);
    rest -= below;
  }
  return data_blocks + std::min(indirect, data_blocks * kMaxLevel);
}

AttributeRoom room_for_attributes(const std::vector<Attribute>& attributes, uint32_t inode_bytes,
                                  uint32_t block_bytes) {
  const uint64_t fixed = ext2::kGoodOldInodeSizeBytes + kExtraFieldBytes + 2 * kXattrMarkBytes;
  uint64_t in_inode = inode_bytes > fixed ? inode_bytes - fixed : 0;
  uint64_t in_block = block_bytes - kXattrHeaderBytes - kXattrMarkBytes;
  AttributeRoom room;
  for (const Attribute& attribute : attributes) {
    const uint64_t needed = kXattrEntryBytes + round_up(attribute.name.size(), kXattrPadBytes) +
                            round_up(attribute.value.size(), kXattrPadBytes);
    if (needed <= in_inode) {
      in_inode -= needed;
    } else if (needed <= in_block) {
      in_block -= needed;
      room.needs_block = true;
    } else {
      room.fits = false;
    }
  }
  return room;
}

}  // namespace unionfs
