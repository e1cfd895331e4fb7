// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/htree.h"

#include <ext2fs/ext2fs.h>

#include <algorithm>
#include <cstring>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"

namespace unionfs {
namespace {

// The kernel lowers this hash, which is its end mark; libext2fs does not.  No
// index can be trusted to have such a name at either place.
constexpr uint32_t kAmbiguousHash = 0xfffffffe;

template <typename T>
T load(ConstByteSpan block, size_t offset) {
  T value;
  std::memcpy(&value, block.data() + offset, sizeof(value));
  return value;
}

template <typename... Args>
Failure index_error(const IndexPlace& place, fmt::format_string<Args...> format, Args&&... args) {
  return corrupt("{}: inode {}: index block {}: {}", place.image_name, place.directory, place.block,
                 fmt::format(format, std::forward<Args>(args)...));
}

Result<std::vector<IndexSlot>> parse_slots(ConstByteSpan block, size_t offset,
                                           uint64_t directory_block_count,
                                           const IndexPlace& place) {
  const auto head = load<ext2::IndexCountLimit>(block, offset);
  const size_t room = (block.size() - offset) / sizeof(ext2::IndexEntry);
  if (head.limit != room) {
    return index_error(place, "limit {} is not {}", head.limit, room);
  }
  if (head.count == 0 || head.count > head.limit) {
    return index_error(place, "count {} is not from 1 to {}", head.count, head.limit);
  }
  std::vector<IndexSlot> slots;
  slots.reserve(head.count);
  for (uint32_t i = 0; i < head.count; ++i) {
    const auto raw = load<ext2::IndexEntry>(block, offset + i * sizeof(ext2::IndexEntry));
    const uint32_t hash = i == 0 ? 0 : raw.hash.value();
    const uint32_t target = raw.block & ext2::kIndexBlockMask;
    if (target == 0 || target >= directory_block_count) {
      return index_error(place, "slot {} leads to file block {} of {}", i, target,
                         directory_block_count);
    }
    if (i > 0 && hash < slots.back().hash) {
      return index_error(place, "slot {}: hash {:#x} is below {:#x}", i, hash, slots.back().hash);
    }
    slots.push_back({hash, FileBlock(target)});
  }
  return slots;
}

// A way down the index: the slots of each level and which of them was taken.
struct Frame {
  std::vector<IndexSlot> slots;
  size_t taken = 0;
};

class IndexReader {
 public:
  IndexReader(const Volume& volume, const InodeRecord& directory, uint64_t block_count)
      : volume_(volume), directory_(directory), block_count_(block_count) {}

  IndexPlace place(FileBlock block) const { return {volume_.name(), directory_.number(), block}; }

  Result<std::vector<std::byte>> read(FileBlock file_block) const {
    UNIONFS_ASSIGN(const std::optional<BlockNumber> block,
                   map_block(volume_, directory_, file_block));
    if (!block) {
      return index_error(place(file_block), "is a hole");
    }
    std::vector<std::byte> bytes(volume_.layout().block_size_bytes);
    UNIONFS_TRY(volume_.read_block(*block, bytes));
    return bytes;
  }

  Result<IndexRoot> read_root() const {
    UNIONFS_ASSIGN(const std::vector<std::byte> bytes, read(FileBlock(0)));
    return parse_index_root(bytes, block_count_, place(FileBlock(0)));
  }

  Result<Frame> read_node(FileBlock file_block) const {
    UNIONFS_ASSIGN(const std::vector<std::byte> bytes, read(file_block));
    UNIONFS_ASSIGN(std::vector<IndexSlot> slots,
                   parse_index_node(bytes, block_count_, place(file_block)));
    return Frame{std::move(slots), 0};
  }

 private:
  const Volume& volume_;
  const InodeRecord& directory_;
  uint64_t block_count_;
};

// The last slot whose hash is not above.
size_t slot_of(const std::vector<IndexSlot>& slots, uint32_t hash) {
  const auto above =
      std::upper_bound(slots.begin() + 1, slots.end(), hash,
                       [](uint32_t value, const IndexSlot& slot) { return value < slot.hash; });
  return static_cast<size_t>(above - slots.begin()) - 1;
}

// Moves on to the next leaf if names of this hash go on there.
Result<bool> advance(const IndexReader& reader, std::vector<Frame>& frames, uint32_t hash) {
  size_t level = frames.size();
  do {
    if (level == 0) {
      return false;
    }
    --level;
  } while (frames[level].taken + 1 == frames[level].slots.size());
  ++frames[level].taken;
  const uint32_t next = frames[level].slots[frames[level].taken].hash;
  if (next != (hash | 1)) {
    return false;
  }
  for (++level; level < frames.size(); ++level) {
    const FileBlock below = frames[level - 1].slots[frames[level - 1].taken].block;
    UNIONFS_ASSIGN(frames[level], reader.read_node(below));
  }
  return true;
}

}  // namespace

Result<IndexRoot> parse_index_root(ConstByteSpan block, uint64_t directory_block_count,
                                   const IndexPlace& place) {
  const auto dot = load<ext2::DirectoryEntry>(block, 0);
  const auto dot_dot = load<ext2::DirectoryEntry>(block, ext2::entry_size_bytes(1));
  if (dot.rec_len != ext2::entry_size_bytes(1) || dot.name_len != 1 || dot_dot.name_len != 2 ||
      dot_dot.rec_len != block.size() - dot.rec_len) {
    return index_error(place, "does not begin with . and .. over the whole block");
  }
  const auto info = load<ext2::IndexRootInfo>(block, ext2::kIndexRootInfoOffset);
  if (info.hash_version > ext2::kHashTea || info.unused_flags != 0) {
    return unsupported(
        "{}: inode {}: index block {}: hash_version {} with flags {:#x} is not known",
        place.image_name, place.directory, place.block, info.hash_version, info.unused_flags);
  }
  if (info.indirect_levels > ext2::kMaxIndexLevels) {
    return unsupported("{}: inode {}: index block {}: indirect_levels {} is over {}",
                       place.image_name, place.directory, place.block, info.indirect_levels,
                       ext2::kMaxIndexLevels);
  }
  if (info.reserved_zero != 0 || info.info_length != sizeof(info)) {
    return index_error(place, "reserved_zero {} with info_length {}", info.reserved_zero,
                       info.info_length);
  }
  UNIONFS_ASSIGN(std::vector<IndexSlot> slots,
                 parse_slots(block, ext2::kIndexRootEntriesOffset, directory_block_count, place));
  return IndexRoot{info.hash_version, info.indirect_levels, std::move(slots)};
}

Result<std::vector<IndexSlot>> parse_index_node(ConstByteSpan block, uint64_t directory_block_count,
                                                const IndexPlace& place) {
  const auto cover = load<ext2::DirectoryEntry>(block, 0);
  if (cover.inode != 0 || cover.rec_len != block.size()) {
    return index_error(place, "does not begin with a free entry over the whole block");
  }
  return parse_slots(block, ext2::kIndexNodeEntriesOffset, directory_block_count, place);
}

Result<uint32_t> name_hash(const Volume& volume, uint8_t hash_version, std::string_view name) {
  return name_hash(volume.superblock().raw(), volume.name(), hash_version, name);
}

Result<uint32_t> name_hash(const ext2::Superblock& superblock, std::string_view image_name,
                           uint8_t hash_version, std::string_view name) {
  if (hash_version > ext2::kHashTea || name.size() > ext2::kMaxNameBytes) {
    return unsupported("{}: hash_version {} is not known", image_name, hash_version);
  }
  const int version =
      hash_version +
      ((superblock.s_flags & ext2::kFlagUnsignedHash) != 0 ? ext2::kUnsignedHashOffset : 0);
  uint32_t seed[4];
  std::copy(superblock.s_hash_seed.begin(), superblock.s_hash_seed.end(), std::begin(seed));
  ext2_dirhash_t hash = 0;
  ext2_dirhash_t minor_hash = 0;
  const errcode_t error =
      ext2fs_dirhash(version, name.data(), static_cast<int>(name.size()), seed, &hash, &minor_hash);
  if (error != 0) {
    return unsupported("{}: hash_version {} is not known", image_name, version);
  }
  return uint32_t{hash};
}

Result<std::vector<FileBlock>> index_nodes(const Volume& volume, const InodeRecord& directory) {
  UNIONFS_ASSIGN(const uint64_t block_count, directory_block_count(volume, directory));
  UNIONFS_ASSIGN(const IndexRoot root, IndexReader(volume, directory, block_count).read_root());
  std::vector<FileBlock> nodes;
  for (const IndexSlot& slot : root.slots) {
    if (root.indirect_levels > 0) {
      nodes.push_back(slot.block);
    }
  }
  return nodes;
}

Result<std::vector<FileBlock>> index_leaves(const Volume& volume, const InodeRecord& directory,
                                            std::string_view name) {
  UNIONFS_ASSIGN(const uint64_t block_count, directory_block_count(volume, directory));
  const IndexReader reader(volume, directory, block_count);
  UNIONFS_ASSIGN(IndexRoot root, reader.read_root());
  UNIONFS_ASSIGN(const uint32_t hash, name_hash(volume, root.hash_version, name));
  if (hash == kAmbiguousHash) {
    return unsupported("{}: inode {}: the hash of a name is the end mark", volume.name(),
                       directory.number());
  }
  std::vector<Frame> frames;
  frames.push_back({std::move(root.slots), 0});
  frames.back().taken = slot_of(frames.back().slots, hash);
  for (uint32_t level = 0; level < root.indirect_levels; ++level) {
    UNIONFS_ASSIGN(Frame frame, reader.read_node(frames.back().slots[frames.back().taken].block));
    frame.taken = slot_of(frame.slots, hash);
    frames.push_back(std::move(frame));
  }
  std::vector<FileBlock> leaves;
  bool goes_on = true;
  while (goes_on) {
    leaves.push_back(frames.back().slots[frames.back().taken].block);
    if (leaves.size() > kMaxLeavesOfHash) {
      return index_error(reader.place(FileBlock(0)), "leads to more than {} leaves for one hash",
                         kMaxLeavesOfHash);
    }
    UNIONFS_ASSIGN(goes_on, advance(reader, frames, hash));
  }
  return leaves;
}

}  // namespace unionfs
