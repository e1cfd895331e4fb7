// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/attribute_names.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fsparse/little_endian.h"

namespace unionfs {
namespace {

// include/uapi/linux/posix_acl.h and posix_acl_xattr.h; fs/ext2/acl.h.
constexpr uint32_t kStoredAclVersion = 1;
constexpr uint32_t kNamedAclVersion = 2;
constexpr uint32_t kNoAclId = 0xFFFFFFFF;
constexpr uint16_t kAclUserObject = 0x01;
constexpr uint16_t kAclUser = 0x02;
constexpr uint16_t kAclGroupObject = 0x04;
constexpr uint16_t kAclGroup = 0x08;
constexpr uint16_t kAclMask = 0x10;
constexpr uint16_t kAclOther = 0x20;
constexpr size_t kAclHeaderBytes = 4;
constexpr size_t kShortEntryBytes = 4;
constexpr size_t kFullEntryBytes = 8;

struct AclEntry {
  uint16_t tag = 0;
  uint16_t permissions = 0;
  uint32_t id = kNoAclId;

  bool has_id() const { return tag == kAclUser || tag == kAclGroup; }
};

constexpr std::array kKnownTags = {kAclUserObject, kAclUser, kAclGroupObject,
                                   kAclGroup,      kAclMask, kAclOther};

uint16_t load_16(ConstByteSpan bytes) {
  Le16 value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

uint32_t load_32(ConstByteSpan bytes) {
  Le32 value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

void append_16(std::vector<std::byte>& to, uint16_t number) {
  to.push_back(std::byte(number & 0xFF));
  to.push_back(std::byte(number >> 8));
}

void append_32(std::vector<std::byte>& to, uint32_t number) {
  append_16(to, static_cast<uint16_t>(number & 0xFFFF));
  append_16(to, static_cast<uint16_t>(number >> 16));
}

bool is_acl(uint8_t name_index) {
  return name_index == ext2::kXattrIndexPosixAclAccess ||
         name_index == ext2::kXattrIndexPosixAclDefault;
}

// In the kernel's form all entries are full; in ext2's only those that have an id.
Result<std::vector<AclEntry>> parse_acl(ConstByteSpan bytes, uint32_t version) {
  if (bytes.size() < kAclHeaderBytes || load_32(bytes) != version) {
    return invalid("an ACL that is none of version {}", version);
  }
  bytes = bytes.subspan(kAclHeaderBytes);
  std::vector<AclEntry> entries;
  while (!bytes.empty()) {
    if (bytes.size() < kShortEntryBytes) {
      return invalid("an ACL that ends within an entry");
    }
    AclEntry entry{load_16(bytes), load_16(bytes.subspan(2)), kNoAclId};
    if (std::ranges::find(kKnownTags, entry.tag) == kKnownTags.end()) {
      return invalid("an ACL with an entry of the unknown kind {:#x}", entry.tag);
    }
    const bool is_full = version == kNamedAclVersion || entry.has_id();
    const size_t length = is_full ? kFullEntryBytes : kShortEntryBytes;
    if (bytes.size() < length) {
      return invalid("an ACL that ends within an entry");
    }
    if (entry.has_id()) {
      entry.id = load_32(bytes.subspan(kShortEntryBytes));
    }
    entries.push_back(entry);
    bytes = bytes.subspan(length);
  }
  return entries;
}

std::vector<std::byte> form_acl(const std::vector<AclEntry>& entries, uint32_t version) {
  std::vector<std::byte> bytes;
  append_32(bytes, version);
  for (const AclEntry& entry : entries) {
    append_16(bytes, entry.tag);
    append_16(bytes, entry.permissions);
    if (version == kNamedAclVersion || entry.has_id()) {
      append_32(bytes, entry.id);
    }
  }
  return bytes;
}

// Prefixes that ext2 writes as a number.  Those of ACLs are whole names.
constexpr std::array kNamedPrefixes = {
    ext2::kXattrIndexUser,    ext2::kXattrIndexPosixAclAccess, ext2::kXattrIndexPosixAclDefault,
    ext2::kXattrIndexTrusted, ext2::kXattrIndexSecurity,       ext2::kXattrIndexSystem,
};

}  // namespace

Result<std::optional<Attribute>> stored_attribute(std::string_view name, ConstByteSpan value) {
  for (const uint8_t index : kNamedPrefixes) {
    const std::string_view prefix = *xattr_prefix(index);
    if (is_acl(index) ? name != prefix : !name.starts_with(prefix)) {
      continue;
    }
    Attribute attribute{index, std::string(name.substr(prefix.size())),
                        std::vector<std::byte>(value.begin(), value.end())};
    if (is_acl(index)) {
      UNIONFS_ASSIGN(const std::vector<AclEntry> entries, parse_acl(value, kNamedAclVersion));
      attribute.value = form_acl(entries, kStoredAclVersion);
    } else if (attribute.name.empty()) {
      return std::optional<Attribute>();
    }
    return std::optional(std::move(attribute));
  }
  return std::optional<Attribute>();
}

Result<NamedAttribute> named_attribute(const Attribute& attribute) {
  const std::optional<std::string_view> prefix = xattr_prefix(attribute.name_index);
  if (!prefix) {
    return invalid("attribute {}: its kind has no name", quoted_name(attribute.full_name()));
  }
  NamedAttribute named{attribute.full_name(), attribute.value};
  if (is_acl(attribute.name_index)) {
    UNIONFS_ASSIGN(const std::vector<AclEntry> entries,
                   parse_acl(attribute.value, kStoredAclVersion));
    named.value = form_acl(entries, kNamedAclVersion);
  }
  return named;
}

}  // namespace unionfs
