// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/directory.h"

#include <cassert>
#include <cstring>
#include <unordered_set>

#include "fsparse/htree.h"

namespace unionfs {
namespace {

EntryKind kind_of(const ext2::DirectoryEntry& raw, const DirectoryRules& rules) {
  if (raw.inode != 0) {
    return EntryKind::kReal;
  }
  if (rules.has_whiteouts && raw.file_type == ext2::kFileTypeWhiteout) {
    return EntryKind::kWhiteout;
  }
  if (rules.has_whiteouts && raw.file_type == ext2::kFileTypeFallthru) {
    return EntryKind::kFallthru;
  }
  return EntryKind::kFree;
}

template <typename... Args>
Failure entry_error(const DirectoryPlace& place, uint32_t offset,
                    fmt::format_string<Args...> format, Args&&... args) {
  return corrupt("{}: inode {}: directory block {}: entry at {}: {}", place.image_name,
                 place.directory, place.block, offset,
                 fmt::format(format, std::forward<Args>(args)...));
}

NamedEntry named(const EntryView& entry, FileBlock file_block, BlockNumber block) {
  return {std::string(entry.name),
          entry.inode,
          entry.file_type,
          entry.kind,
          file_block,
          block,
          entry.offset};
}

std::optional<NamedEntry> match(const EntryView& entry, std::string_view name, FileBlock file_block,
                                BlockNumber block) {
  if (entry.kind == EntryKind::kFree || entry.name != name) {
    return std::nullopt;
  }
  return named(entry, file_block, block);
}

Result<std::optional<NamedEntry>> find_in_block(ConstByteSpan bytes, const Volume& volume,
                                                const InodeRecord& directory, FileBlock file_block,
                                                BlockNumber block, std::string_view name) {
  std::optional<NamedEntry> found;
  UNIONFS_TRY(for_each_entry(bytes, DirectoryRules::of(volume),
                             {volume.name(), directory.number(), block},
                             [&](const EntryView& entry) {
                               found = match(entry, name, file_block, block);
                               return found ? EntryStep::kStop : EntryStep::kContinue;
                             }));
  return found;
}

Result<std::optional<NamedEntry>> find_linear(const Volume& volume, const InodeRecord& directory,
                                              std::string_view name) {
  std::optional<NamedEntry> found;
  const auto visit = [&](FileBlock file_block, BlockNumber block,
                         ConstByteSpan bytes) -> Result<EntryStep> {
    UNIONFS_ASSIGN(found, find_in_block(bytes, volume, directory, file_block, block, name));
    return found ? EntryStep::kStop : EntryStep::kContinue;
  };
  UNIONFS_TRY(walk_directory_blocks(volume, directory, visit));
  return found;
}

Result<std::optional<NamedEntry>> find_in_leaves(const Volume& volume, const InodeRecord& directory,
                                                 std::string_view name) {
  UNIONFS_ASSIGN(const std::vector<FileBlock> leaves, index_leaves(volume, directory, name));
  std::vector<std::byte> bytes(volume.layout().block_size_bytes);
  for (const FileBlock leaf : leaves) {
    UNIONFS_ASSIGN(const std::optional<BlockNumber> block, map_block(volume, directory, leaf));
    if (!block) {
      return corrupt("{}: inode {}: directory has a hole at file block {}", volume.name(),
                     directory.number(), leaf);
    }
    UNIONFS_TRY(volume.read_block(*block, bytes));
    UNIONFS_ASSIGN(std::optional<NamedEntry> found,
                   find_in_block(bytes, volume, directory, leaf, *block, name));
    if (found) {
      return found;
    }
  }
  return std::nullopt;
}

bool has_index(const Volume& volume, const InodeRecord& directory) {
  const ext2::Superblock& raw = volume.superblock().raw();
  return raw.s_rev_level != ext2::kGoodOldRevision &&
         (raw.s_feature_compat & ext2::kCompatDirIndex) != 0 && directory.has_index() &&
         directory.size_bytes() > volume.layout().block_size_bytes;
}

}  // namespace

DirectoryRules DirectoryRules::of(const Volume& volume) {
  const ext2::Superblock& raw = volume.superblock().raw();
  const bool has_whiteouts = raw.s_rev_level != ext2::kGoodOldRevision &&
                             (raw.s_feature_incompat & ext2::kIncompatWhiteout) != 0;
  return {volume.layout().inode_count(), volume.layout().has_file_types, has_whiteouts};
}

std::optional<InodeNumber> DirectoryRules::inode(ClaimedInode claimed) const {
  const bool is_there = claimed.value() >= 1 && claimed.value() <= inode_count;
  return is_there ? std::optional(InodeNumber(claimed.value())) : std::nullopt;
}

Result<std::optional<EntryView>> DirectoryCursor::next() {
  if (offset_ == block_.size()) {
    return std::nullopt;
  }
  const auto left = static_cast<uint32_t>(block_.size()) - offset_;
  if (left < kMinEntrySizeBytes) {
    return entry_error(place_, offset_, "only {} bytes are left of the block", left);
  }
  ext2::DirectoryEntry raw;
  std::memcpy(&raw, block_.data() + offset_, sizeof(raw));
  const uint32_t size_bytes = raw.rec_len;
  if (size_bytes < kMinEntrySizeBytes || size_bytes % 4 != 0 || size_bytes > left) {
    return entry_error(place_, offset_, "rec_len {} is not a multiple of 4 from {} to {}",
                       size_bytes, kMinEntrySizeBytes, left);
  }
  // Without file types the kernel leaves this byte as it finds it in a reused block;
  // no name is so long that it could be part of the length.
  if (!rules_.has_file_types) {
    raw.file_type = 0;
  }
  if (ext2::entry_size_bytes(raw.name_len) > size_bytes) {
    return entry_error(place_, offset_, "name_len {} does not fit rec_len {}", raw.name_len,
                       size_bytes);
  }
  EntryView entry{offset_, size_bytes, InodeNumber(0), raw.file_type, kind_of(raw, rules_), {}};
  if (entry.kind != EntryKind::kFree) {
    entry.name = {reinterpret_cast<const char*>(block_.data()) + offset_ + sizeof(raw),
                  raw.name_len};
    UNIONFS_ASSIGN(entry.inode, inode_of(entry, ClaimedInode(raw.inode)));
    UNIONFS_TRY(check(entry));
  }
  offset_ += size_bytes;
  return entry;
}

// 0 unless it is a name of an inode.
Result<InodeNumber> DirectoryCursor::inode_of(const EntryView& entry, ClaimedInode claimed) const {
  if (claimed.is_none()) {
    return InodeNumber(0);
  }
  const std::optional<InodeNumber> inode = rules_.inode(claimed);
  if (!inode) {
    return entry_error(place_, entry.offset, "inode {} is over {}", claimed, rules_.inode_count);
  }
  return *inode;
}

Result<void> DirectoryCursor::check(const EntryView& entry) const {
  if (entry.name.empty()) {
    return entry_error(place_, entry.offset, "name is empty");
  }
  if (entry.name.find('/') != std::string_view::npos ||
      entry.name.find('\0') != std::string_view::npos) {
    return entry_error(place_, entry.offset, "name has a slash or a NUL in it");
  }
  if (rules_.has_whiteouts && entry.kind == EntryKind::kReal &&
      entry.file_type >= ext2::kFileTypeWhiteout) {
    return entry_error(place_, entry.offset, "inode {} with file_type {}", entry.inode,
                       entry.file_type);
  }
  return {};
}

void rewrite_entry(ByteSpan block, uint32_t offset, InodeNumber inode, uint8_t file_type) {
  ext2::DirectoryEntry raw;
  assert(offset % 4 == 0 && offset + sizeof(raw) <= block.size());
  std::memcpy(&raw, block.data() + offset, sizeof(raw));
  raw.inode = inode.value();
  raw.file_type = file_type;
  std::memcpy(block.data() + offset, &raw, sizeof(raw));
}

void put_entry(ByteSpan block, size_t offset, size_t size_bytes, InodeNumber inode,
               uint8_t file_type, std::string_view name) {
  ext2::DirectoryEntry raw;
  assert(offset % 4 == 0 && offset + sizeof(raw) + name.size() <= block.size());
  raw.inode = inode.value();
  raw.rec_len = static_cast<uint16_t>(size_bytes);
  raw.name_len = static_cast<uint8_t>(name.size());
  raw.file_type = file_type;
  std::memcpy(block.data() + offset, &raw, sizeof(raw));
  name.copy(reinterpret_cast<char*>(block.data()) + offset + sizeof(raw), name.size());
}

Result<uint64_t> directory_block_count(const Volume& volume, const InodeRecord& directory) {
  const Layout& layout = volume.layout();
  if (!directory.is_directory()) {
    return corrupt("{}: inode {}: is not a directory (i_mode {:#o})", volume.name(),
                   directory.number(), directory.raw().i_mode);
  }
  const uint64_t size_bytes = directory.size_bytes();
  if (size_bytes == 0 || size_bytes % layout.block_size_bytes != 0) {
    return corrupt("{}: inode {}: directory of {} bytes, not of blocks of {}", volume.name(),
                   directory.number(), size_bytes, layout.block_size_bytes);
  }
  const uint64_t block_count = size_bytes / layout.block_size_bytes;
  if (block_count > layout.block_count) {
    return corrupt("{}: inode {}: directory of {} blocks in an image of {}", volume.name(),
                   directory.number(), block_count, layout.block_count);
  }
  return block_count;
}

Result<void> walk_directory_blocks(const Volume& volume, const InodeRecord& directory,
                                   const DirectoryBlockVisitor& visitor) {
  UNIONFS_ASSIGN(const uint64_t block_count, directory_block_count(volume, directory));
  std::vector<std::byte> bytes(volume.layout().block_size_bytes);
  std::unordered_set<uint64_t> seen;
  FileBlock expected;
  bool stopped = false;
  const auto visit = [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
    // At a hole the rest need not be read; behind the end nothing is ours.
    if (role.first != expected || role.first.value() >= block_count) {
      return WalkStep::kStop;
    }
    if (role.level != 0) {
      return WalkStep::kContinue;
    }
    // Pointers to one and the same block would make a thousand times the names that are there.
    if (!seen.insert(block.value()).second) {
      return corrupt("{}: inode {}: directory block {} is used twice", volume.name(),
                     directory.number(), block);
    }
    UNIONFS_TRY(volume.read_block(block, bytes));
    UNIONFS_ASSIGN(const EntryStep step, visitor(role.first, block, bytes));
    stopped = step == EntryStep::kStop;
    ++expected;
    return stopped ? WalkStep::kStop : WalkStep::kContinue;
  };
  UNIONFS_TRY(walk_block_map(volume, directory, visit));
  if (!stopped && expected.value() < block_count) {
    return corrupt("{}: inode {}: directory has a hole at file block {} of {}", volume.name(),
                   directory.number(), expected, block_count);
  }
  return {};
}

Result<std::vector<NamedEntry>> read_directory(const Volume& volume, const InodeRecord& directory) {
  std::vector<NamedEntry> entries;
  const DirectoryRules rules = DirectoryRules::of(volume);
  const auto visit = [&](FileBlock file_block, BlockNumber block,
                         ConstByteSpan bytes) -> Result<EntryStep> {
    const auto keep = [&](const EntryView& entry) {
      if (entry.kind != EntryKind::kFree) {
        entries.push_back(named(entry, file_block, block));
      }
      return EntryStep::kContinue;
    };
    UNIONFS_TRY(for_each_entry(bytes, rules, {volume.name(), directory.number(), block}, keep));
    return EntryStep::kContinue;
  };
  UNIONFS_TRY(walk_directory_blocks(volume, directory, visit));
  return entries;
}

Result<std::optional<NamedEntry>> find_name_by_index(const Volume& volume,
                                                     const InodeRecord& directory,
                                                     std::string_view name) {
  if (!has_index(volume, directory)) {
    return unsupported("{}: inode {}: directory has no index", volume.name(), directory.number());
  }
  return find_in_leaves(volume, directory, name);
}

Result<std::optional<NamedEntry>> find_name(const Volume& volume, const InodeRecord& directory,
                                            std::string_view name) {
  if (name != "." && name != "..") {
    Result<std::optional<NamedEntry>> found = find_name_by_index(volume, directory, name);
    if (found || found.error().kind == ErrorKind::kSystem) {
      return found;
    }
    // A damaged or unknown index is no reason to lose the names.
  }
  return find_linear(volume, directory, name);
}

}  // namespace unionfs
