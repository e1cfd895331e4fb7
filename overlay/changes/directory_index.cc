// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/directory_index.h"

#include <algorithm>
#include <cstring>

#include "fsparse/directory.h"
#include "fsparse/htree.h"

namespace unionfs {
namespace {

using Bytes = std::vector<std::byte>;

// A slot of an index block that is being made.
struct Slot {
  uint32_t hash;
  uint32_t block;
};

// `slots` begins at `first`; count and limit take the place of the first hash.
void put_slots(Bytes& block, size_t offset, const std::vector<Slot>& slots, size_t first,
               size_t count) {
  for (size_t i = 0; i < count; ++i) {
    ext2::IndexEntry raw;
    raw.hash = slots[first + i].hash;
    raw.block = slots[first + i].block;
    std::memcpy(block.data() + offset + i * sizeof(raw), &raw, sizeof(raw));
  }
  ext2::IndexCountLimit head;
  head.limit = static_cast<uint16_t>((block.size() - offset) / sizeof(ext2::IndexEntry));
  head.count = static_cast<uint16_t>(count);
  std::memcpy(block.data() + offset, &head, sizeof(head));
}

// Leaves with the names in the order of their hashes, each three quarters full
// at most, so that a name more does not split one at once.
std::vector<Bytes> make_leaves(const std::vector<IndexedName>& names, uint32_t block_size,
                               std::vector<Slot>& slots) {
  const size_t fill = block_size / 4 * 3;
  std::vector<Bytes> leaves;
  size_t next = 0;
  while (next < names.size()) {
    size_t end = next;
    size_t used = 0;
    const auto size_of = [&](size_t i) {
      return size_t{ext2::entry_size_bytes(static_cast<uint32_t>(names[i].name.size()))};
    };
    while (end < names.size() && (end == next || used + size_of(end) <= fill)) {
      used += size_of(end++);
    }
    // The lowest bit says that names of the same hash lie in the leaf before.
    const bool goes_on = next > 0 && names[next - 1].hash == names[next].hash;
    slots.push_back({names[next].hash | (goes_on ? 1U : 0U), 0});
    Bytes leaf(block_size);
    size_t offset = 0;
    for (; next < end; ++next) {
      const size_t size = next + 1 == end ? block_size - offset : size_of(next);
      put_entry(leaf, offset, size, names[next].inode, names[next].file_type, names[next].name);
      offset += size;
    }
    leaves.push_back(std::move(leaf));
  }
  return leaves;
}

Bytes make_node(const std::vector<Slot>& slots, size_t first, size_t count, uint32_t block_size) {
  Bytes node(block_size);
  put_entry(node, 0, block_size, InodeNumber(0), 0, "");
  put_slots(node, ext2::kIndexNodeEntriesOffset, slots, first, count);
  return node;
}

}  // namespace

Result<std::vector<Bytes>> index_directory(const ext2::Superblock& superblock,
                                           std::string_view image_name, InodeNumber directory,
                                           InodeNumber parent, uint8_t dot_type,
                                           std::vector<IndexedName> names) {
  const uint8_t version = superblock.s_def_hash_version;
  if (version > ext2::kHashTea || names.empty()) {
    return std::vector<Bytes>();
  }
  for (IndexedName& name : names) {
    UNIONFS_ASSIGN(name.hash, name_hash(superblock, image_name, version, name.name));
  }
  std::sort(names.begin(), names.end(), [](const IndexedName& a, const IndexedName& b) {
    return a.hash != b.hash ? a.hash < b.hash : a.name < b.name;
  });
  const uint32_t block_size = ext2::kMinBlockSizeBytes << superblock.s_log_block_size;
  std::vector<Slot> slots;
  std::vector<Bytes> leaves = make_leaves(names, block_size, slots);

  const size_t root_limit = (block_size - ext2::kIndexRootEntriesOffset) / sizeof(ext2::IndexEntry);
  const size_t node_limit = (block_size - ext2::kIndexNodeEntriesOffset) / sizeof(ext2::IndexEntry);
  const bool has_nodes = leaves.size() > root_limit;
  // Nodes that have room for a few leaves more.
  const size_t per_node = node_limit - node_limit / 8;
  const size_t node_count = has_nodes ? divide_round_up(leaves.size(), per_node) : 0;
  if (node_count > root_limit) {
    return std::vector<Bytes>();
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i].block = static_cast<uint32_t>(1 + node_count + i);
  }

  std::vector<Bytes> blocks(1, Bytes(block_size));
  std::vector<Slot> top = has_nodes ? std::vector<Slot>() : slots;
  for (size_t node = 0; node < node_count; ++node) {
    const size_t first = node * per_node;
    const size_t count = std::min(per_node, slots.size() - first);
    top.push_back({slots[first].hash, static_cast<uint32_t>(1 + node)});
    blocks.push_back(make_node(slots, first, count, block_size));
  }
  Bytes& root = blocks.front();
  constexpr size_t kDotSize = ext2::entry_size_bytes(1);
  put_entry(root, 0, kDotSize, directory, dot_type, ".");
  put_entry(root, kDotSize, block_size - kDotSize, parent, dot_type, "..");
  ext2::IndexRootInfo info = {};
  info.hash_version = version;
  info.info_length = sizeof(info);
  info.indirect_levels = has_nodes ? 1 : 0;
  std::memcpy(root.data() + ext2::kIndexRootInfoOffset, &info, sizeof(info));
  put_slots(root, ext2::kIndexRootEntriesOffset, top, 0, top.size());
  blocks.insert(blocks.end(), std::make_move_iterator(leaves.begin()),
                std::make_move_iterator(leaves.end()));
  return blocks;
}

}  // namespace unionfs
