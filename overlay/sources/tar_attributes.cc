// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/tar_attributes.h"

#include <archive.h>

#include <algorithm>
#include <array>
#include <vector>

namespace unionfs {
namespace {

// include/uapi/linux/posix_acl_xattr.h, version 2.
constexpr uint32_t kAclXattrVersion = 2;
constexpr uint32_t kAclXattrNoId = 0xFFFFFFFF;

struct TarAclEntry {
  uint32_t tag = 0;  // ACL_USER_OBJ, ...: include/uapi/linux/posix_acl.h
  uint32_t permissions = 0;
  uint32_t id = kAclXattrNoId;

  auto operator<=>(const TarAclEntry&) const = default;
};

struct AclTag {
  int archive_tag;
  uint32_t tag;
};
constexpr std::array kAclTags = {
    AclTag{ARCHIVE_ENTRY_ACL_USER_OBJ, 0x01},  AclTag{ARCHIVE_ENTRY_ACL_USER, 0x02},
    AclTag{ARCHIVE_ENTRY_ACL_GROUP_OBJ, 0x04}, AclTag{ARCHIVE_ENTRY_ACL_GROUP, 0x08},
    AclTag{ARCHIVE_ENTRY_ACL_MASK, 0x10},      AclTag{ARCHIVE_ENTRY_ACL_OTHER, 0x20},
};
constexpr uint32_t kAclMaskTag = 0x10;

void append_number(std::vector<std::byte>& bytes, uint32_t number, size_t length) {
  for (size_t place = 0; place < length; ++place) {
    bytes.push_back(std::byte((number >> (8 * place)) & 0xFF));
  }
}

// Linux refuses a list that is not in the order of its tags and ids.
std::vector<std::byte> acl_value(std::vector<TarAclEntry> entries) {
  std::ranges::sort(entries);
  std::vector<std::byte> bytes;
  append_number(bytes, kAclXattrVersion, 4);
  for (const TarAclEntry& entry : entries) {
    append_number(bytes, entry.tag, 2);
    append_number(bytes, entry.permissions, 2);
    append_number(bytes, entry.id, 4);
  }
  return bytes;
}

// No user and no group of this machine has a say, so a name without a number says nothing.
Result<TarAclEntry> acl_entry(int archive_tag, int permissions, int id, const char* name,
                              std::string_view where) {
  const auto known = std::ranges::find(kAclTags, archive_tag, &AclTag::archive_tag);
  if (known == kAclTags.end()) {
    return unsupported("{}: its ACL is not one of POSIX", where);
  }
  TarAclEntry entry{known->tag, static_cast<uint32_t>(permissions) & 7, kAclXattrNoId};
  if (archive_tag == ARCHIVE_ENTRY_ACL_USER || archive_tag == ARCHIVE_ENTRY_ACL_GROUP) {
    if (id == -1) {
      return unsupported(
          "{}: its ACL has the name {} without a number; tar --numeric-owner writes numbers", where,
          quoted_name(name == nullptr ? "" : name));
    }
    entry.id = static_cast<uint32_t>(id);
  }
  return entry;
}

Result<std::vector<TarAclEntry>> entry_acl(archive_entry* entry, int type, std::string_view where) {
  std::vector<TarAclEntry> acl;
  archive_entry_acl_reset(entry, type);
  int found_type = 0;
  int permissions = 0;
  int tag = 0;
  int id = 0;
  const char* name = nullptr;
  while (archive_entry_acl_next(entry, type, &found_type, &permissions, &tag, &id, &name) ==
         ARCHIVE_OK) {
    UNIONFS_ASSIGN(const TarAclEntry next, acl_entry(tag, permissions, id, name, where));
    acl.push_back(next);
  }
  return acl;
}

// libarchive takes the owning group's entry for the permission bits, which stand for the mask
// where there is one.
void put_mask(const std::vector<TarAclEntry>& acl, FileState& state) {
  const auto mask = std::ranges::find(acl, kAclMaskTag, &TarAclEntry::tag);
  if (mask != acl.end()) {
    state.mode = static_cast<uint16_t>((state.mode & ~070U) | (mask->permissions << 3));
  }
}

}  // namespace

Result<void> put_entry_attributes(archive_entry* entry, FileState& state,
                                  AttributeCollector& collector, std::string_view where) {
  const char* name = nullptr;
  const void* value = nullptr;
  size_t size = 0;
  archive_entry_xattr_reset(entry);
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    UNIONFS_TRY(collector.put(state, name, {static_cast<const std::byte*>(value), size}, where));
  }
  const int types = archive_entry_acl_types(entry);
  if ((types & ARCHIVE_ENTRY_ACL_TYPE_NFS4) != 0) {
    return unsupported("{}: its ACL is not one of POSIX", where);
  }
  if ((types & ARCHIVE_ENTRY_ACL_TYPE_ACCESS) != 0) {
    UNIONFS_ASSIGN(const auto acl, entry_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, where));
    put_mask(acl, state);
    UNIONFS_TRY(collector.put(state, "system.posix_acl_access", acl_value(acl), where));
  }
  if ((types & ARCHIVE_ENTRY_ACL_TYPE_DEFAULT) != 0) {
    UNIONFS_ASSIGN(const auto acl, entry_acl(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, where));
    UNIONFS_TRY(collector.put(state, "system.posix_acl_default", acl_value(acl), where));
  }
  return collector.check(state, where);
}

}  // namespace unionfs
