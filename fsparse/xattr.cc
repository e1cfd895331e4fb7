// SPDX-License-Identifier: BSD-3-Clause
#include "fsparse/xattr.h"

#include <algorithm>
#include <cstring>

#include "fsparse/block_map.h"

namespace unionfs {
namespace {

constexpr uint32_t kPaddingBytes = 4;
constexpr uint32_t kEndMarkBytes = 4;  // four zero bytes end the list

// Where a list lies: `entries` is the offset of the first entry, and values are
// counted from `value_base`; both up to the end of `bytes`.
struct List {
  ConstByteSpan bytes;
  size_t entries;
  size_t value_base;
  std::string_view where;
};

struct ValueRange {
  size_t begin;
  size_t end;
};

template <typename... Args>
Failure list_error(const List& list, size_t offset, fmt::format_string<Args...> format,
                   Args&&... args) {
  return corrupt("{}: attribute at {}: {}", list.where, offset,
                 fmt::format(format, std::forward<Args>(args)...));
}

bool is_end_mark(ConstByteSpan bytes, size_t offset) {
  return all_zeros(bytes.subspan(offset, kEndMarkBytes));
}

// Reads the entry at `offset` and moves `offset` behind it; gives its value's place.
Result<ValueRange> parse_entry(const List& list, size_t& offset, Attribute& attribute) {
  ext2::XattrEntry raw;
  const size_t left = list.bytes.size() - offset;
  if (left < sizeof(raw)) {
    return list_error(list, offset, "only {} bytes are left", left);
  }
  std::memcpy(&raw, list.bytes.data() + offset, sizeof(raw));
  const size_t size_bytes = sizeof(raw) + round_up(raw.e_name_len, kPaddingBytes);
  if (size_bytes + kEndMarkBytes > left) {
    return list_error(list, offset, "e_name_len {} does not fit", raw.e_name_len);
  }
  attribute.name_index = raw.e_name_index;
  attribute.name.assign(reinterpret_cast<const char*>(list.bytes.data()) + offset + sizeof(raw),
                        raw.e_name_len);
  if (attribute.name.find('\0') != std::string::npos) {
    return list_error(list, offset, "name has a NUL in it");
  }
  if (raw.e_value_block != 0) {
    return list_error(list, offset, "e_value_block is {}", raw.e_value_block);
  }
  if (raw.e_value_size == 0) {
    offset += size_bytes;
    return ValueRange{list.bytes.size(), list.bytes.size()};  // its offset means nothing
  }
  const uint64_t begin = list.value_base + raw.e_value_offs;
  const uint64_t end = begin + round_up(raw.e_value_size, kPaddingBytes);
  if (end > list.bytes.size()) {
    return list_error(list, offset, "e_value_offs {} with e_value_size {} is outside",
                      raw.e_value_offs, raw.e_value_size);
  }
  attribute.value.assign(list.bytes.begin() + static_cast<ptrdiff_t>(begin),
                         list.bytes.begin() + static_cast<ptrdiff_t>(begin + raw.e_value_size));
  offset += size_bytes;
  return ValueRange{begin, end};
}

// Values may lie in any order, but not in each other or in the list.
Result<void> check_values(const List& list, size_t list_end, std::vector<ValueRange> values) {
  std::sort(values.begin(), values.end(),
            [](const ValueRange& a, const ValueRange& b) { return a.begin < b.begin; });
  size_t free_from = list_end;
  for (const ValueRange& value : values) {
    if (value.begin < free_from) {
      return corrupt("{}: attribute value at {} overlaps {}", list.where, value.begin,
                     free_from == list_end ? "the list" : "another");
    }
    free_from = value.end;
  }
  return {};
}

Result<std::vector<Attribute>> parse_list(const List& list) {
  std::vector<Attribute> attributes;
  std::vector<ValueRange> values;
  size_t offset = list.entries;
  while (true) {
    if (list.bytes.size() - offset < kEndMarkBytes) {
      return list_error(list, offset, "the list has no end mark");
    }
    if (is_end_mark(list.bytes, offset)) {
      break;
    }
    Attribute attribute;
    UNIONFS_ASSIGN(const ValueRange value, parse_entry(list, offset, attribute));
    attributes.push_back(std::move(attribute));
    values.push_back(value);
  }
  UNIONFS_TRY(check_values(list, offset + kEndMarkBytes, std::move(values)));
  return attributes;
}

}  // namespace

std::optional<std::string_view> xattr_prefix(uint8_t name_index) {
  switch (name_index) {
    case ext2::kXattrIndexUser:
      return "user.";
    case ext2::kXattrIndexPosixAclAccess:
      return "system.posix_acl_access";
    case ext2::kXattrIndexPosixAclDefault:
      return "system.posix_acl_default";
    case ext2::kXattrIndexTrusted:
      return "trusted.";
    case ext2::kXattrIndexLustre:
      return "lustre.";
    case ext2::kXattrIndexSecurity:
      return "security.";
    case ext2::kXattrIndexSystem:
      return "system.";
    case ext2::kXattrIndexRichAcl:
      return "system.richacl";
    default:
      return std::nullopt;
  }
}

std::string Attribute::full_name() const {
  const std::optional<std::string_view> prefix = xattr_prefix(name_index);
  return (prefix ? std::string(*prefix) : fmt::format("index {}.", name_index)) + name;
}

Result<XattrBlock> parse_xattr_block(ConstByteSpan block, std::string_view where) {
  ext2::XattrHeader header;
  if (block.size() < sizeof(header)) {
    return corrupt("{}: only {} bytes long", where, block.size());
  }
  std::memcpy(&header, block.data(), sizeof(header));
  if (header.h_magic != ext2::kXattrMagic) {
    return corrupt("{}: magic {:#010x} where {:#010x} belongs", where, header.h_magic,
                   ext2::kXattrMagic);
  }
  if (header.h_blocks != 1) {
    return corrupt("{}: h_blocks is {}, not 1", where, header.h_blocks);
  }
  if (header.h_refcount == 0) {
    return corrupt("{}: h_refcount is 0", where);
  }
  UNIONFS_ASSIGN(std::vector<Attribute> attributes, parse_list({block, sizeof(header), 0, where}));
  return XattrBlock{header.h_refcount, std::move(attributes)};
}

Result<std::vector<Attribute>> inode_attributes(const Volume& volume, const InodeRecord& inode) {
  const ConstByteSpan bytes = inode.bytes();
  const size_t room = bytes.size() - sizeof(ext2::Inode);
  const uint32_t extra_size = inode.extra_size_bytes();
  if (room == 0 || extra_size == 0) {  // the kernel, too, looks only behind extra fields
    return std::vector<Attribute>();
  }
  if (!inode.extra()) {
    return corrupt("{}: inode {}: i_extra_isize {} is not a multiple of 4 up to {}", volume.name(),
                   inode.number(), extra_size, room);
  }
  const size_t magic_offset = sizeof(ext2::Inode) + extra_size;
  Le32 magic;
  if (bytes.size() - magic_offset < sizeof(magic)) {
    return std::vector<Attribute>();
  }
  std::memcpy(&magic, bytes.data() + magic_offset, sizeof(magic));
  if (magic != ext2::kXattrMagic) {
    return std::vector<Attribute>();
  }
  const size_t entries = magic_offset + sizeof(magic);
  const std::string where = fmt::format("{}: inode {}", volume.name(), inode.number());
  return parse_list({bytes, entries, entries, where});
}

Result<std::optional<XattrBlock>> read_xattr_block(const Volume& volume, const InodeRecord& inode) {
  if (inode.file_acl().is_none()) {
    return std::nullopt;
  }
  UNIONFS_ASSIGN(const BlockNumber block,
                 check_pointer(volume, inode.number(), 0, inode.file_acl()));
  std::vector<std::byte> bytes(volume.layout().block_size_bytes);
  UNIONFS_TRY(volume.read_block(block, bytes));
  UNIONFS_ASSIGN(XattrBlock parsed,
                 parse_xattr_block(bytes, fmt::format("{}: inode {}: xattr block {}", volume.name(),
                                                      inode.number(), block)));
  return parsed;
}

Result<std::vector<Attribute>> read_attributes(const Volume& volume, const InodeRecord& inode) {
  UNIONFS_ASSIGN(std::vector<Attribute> attributes, inode_attributes(volume, inode));
  UNIONFS_ASSIGN(std::optional<XattrBlock> block, read_xattr_block(volume, inode));
  if (block) {
    attributes.insert(attributes.end(), std::make_move_iterator(block->attributes.begin()),
                      std::make_move_iterator(block->attributes.end()));
  }
  return attributes;
}

}  // namespace unionfs
