// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/xattr_form.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <tuple>

namespace unionfs {
namespace {

constexpr uint64_t kWordBytes = 4;  // names and values are padded to this
constexpr uint64_t kMagicBytes = 4;
constexpr uint64_t kEndBytes = 4;  // four zero bytes end the list
constexpr int kNameHashShift = 5;
constexpr int kValueHashShift = 16;
constexpr int kBlockHashShift = 16;

uint64_t entry_bytes(const Attribute& attribute) {
  return sizeof(ext2::XattrEntry) + round_up(attribute.name.size(), kWordBytes);
}

uint64_t bytes_of_attribute(const Attribute& attribute) {
  return entry_bytes(attribute) + round_up(attribute.value.size(), kWordBytes);
}

// The kernel looks for a name in a block by this order.
bool comes_first(const Attribute& one, const Attribute& other) {
  return std::forward_as_tuple(one.name_index, one.name.size(), one.name) <
         std::forward_as_tuple(other.name_index, other.name.size(), other.name);
}

uint32_t entry_hash(const Attribute& attribute) {
  uint32_t hash = 0;
  for (const char character : attribute.name) {
    hash = std::rotl(hash, kNameHashShift) ^ static_cast<uint8_t>(character);
  }
  for (size_t begin = 0; begin < attribute.value.size(); begin += kWordBytes) {
    Le32 word(0);
    std::memcpy(&word, attribute.value.data() + begin,
                std::min<size_t>(kWordBytes, attribute.value.size() - begin));
    hash = std::rotl(hash, kValueHashShift) ^ word;
  }
  return hash;
}

// Entries from `offset` on, values from the end downwards.  Places of values are counted from
// `value_base`.  Returns the hash of a block with this list.
uint32_t put_list(ByteSpan bytes, size_t offset, size_t value_base,
                  const std::vector<Attribute>& attributes) {
  uint32_t block_hash = 0;
  size_t value_end = bytes.size();
  for (const Attribute& attribute : attributes) {
    ext2::XattrEntry raw = {};
    raw.e_name_len = static_cast<uint8_t>(attribute.name.size());
    raw.e_name_index = attribute.name_index;
    raw.e_value_size = static_cast<uint32_t>(attribute.value.size());
    if (!attribute.value.empty()) {
      value_end -= round_up(attribute.value.size(), kWordBytes);
      raw.e_value_offs = static_cast<uint16_t>(value_end - value_base);
      std::memcpy(bytes.data() + value_end, attribute.value.data(), attribute.value.size());
    }
    raw.e_hash = entry_hash(attribute);
    block_hash = std::rotl(block_hash, kBlockHashShift) ^ raw.e_hash;
    std::memcpy(bytes.data() + offset, &raw, sizeof(raw));
    std::memcpy(bytes.data() + offset + sizeof(raw), attribute.name.data(), attribute.name.size());
    offset += entry_bytes(attribute);
    assert(offset + kEndBytes <= value_end);
  }
  return block_hash;
}

std::optional<PlacedAttributes> place_in_order(const std::vector<const Attribute*>& order,
                                               uint64_t room_in_inode, uint32_t block_size_bytes) {
  PlacedAttributes placed;
  uint64_t inode_used = kMagicBytes + kEndBytes;
  uint64_t block_used = sizeof(ext2::XattrHeader) + kEndBytes;
  for (const Attribute* attribute : order) {
    const uint64_t needed = bytes_of_attribute(*attribute);
    if (inode_used + needed <= room_in_inode) {
      inode_used += needed;
      placed.in_inode.push_back(*attribute);
    } else if (block_used + needed <= block_size_bytes) {
      block_used += needed;
      placed.in_block.push_back(*attribute);
    } else {
      return std::nullopt;
    }
  }
  std::sort(placed.in_block.begin(), placed.in_block.end(), comes_first);
  return placed;
}

}  // namespace

std::optional<PlacedAttributes> place_attributes(const std::vector<Attribute>& attributes,
                                                 uint64_t room_in_inode,
                                                 uint32_t block_size_bytes) {
  std::vector<const Attribute*> order;
  for (const Attribute& attribute : attributes) {
    if (attribute.name.size() > UINT8_MAX || attribute.value.size() > block_size_bytes) {
      return std::nullopt;
    }
    order.push_back(&attribute);
  }
  std::optional<PlacedAttributes> placed = place_in_order(order, room_in_inode, block_size_bytes);
  if (!placed) {
    std::stable_sort(order.begin(), order.end(), [](const Attribute* one, const Attribute* other) {
      return bytes_of_attribute(*one) > bytes_of_attribute(*other);
    });
    placed = place_in_order(order, room_in_inode, block_size_bytes);
  }
  return placed;
}

void put_inode_attributes(ByteSpan room, const std::vector<Attribute>& attributes) {
  if (attributes.empty()) {
    return;
  }
  const Le32 magic(ext2::kXattrMagic);
  std::memcpy(room.data(), &magic, sizeof(magic));
  put_list(room, kMagicBytes, kMagicBytes, attributes);
}

std::vector<std::byte> make_xattr_block(const std::vector<Attribute>& attributes,
                                        uint32_t block_size_bytes, uint32_t reference_count) {
  std::vector<std::byte> block(block_size_bytes);
  ext2::XattrHeader header = {};
  header.h_magic = ext2::kXattrMagic;
  header.h_refcount = reference_count;
  header.h_blocks = 1U;
  header.h_hash = put_list(block, sizeof(header), 0, attributes);
  std::memcpy(block.data(), &header, sizeof(header));
  return block;
}

}  // namespace unionfs
