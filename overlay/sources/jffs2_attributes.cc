// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/jffs2_attributes.h"

#include <algorithm>
#include <cstring>

#include "fsparse/little_endian.h"
#include "overlay/tree/attribute_names.h"
#include "overlay/tree/file_state.h"

namespace unionfs::jffs2 {
namespace {

// None: not known.
std::optional<uint8_t> name_index_of(uint8_t prefix) {
  switch (prefix) {
    case kPrefixUser:
      return ext2::kXattrIndexUser;
    case kPrefixSecurity:
      return ext2::kXattrIndexSecurity;
    case kPrefixAclAccess:
      return ext2::kXattrIndexPosixAclAccess;
    case kPrefixAclDefault:
      return ext2::kXattrIndexPosixAclDefault;
    case kPrefixTrusted:
      return ext2::kXattrIndexTrusted;
    default:
      return std::nullopt;
  }
}

bool is_acl(uint8_t prefix) {
  return prefix == kPrefixAclAccess || prefix == kPrefixAclDefault;
}

// Entries of these kinds have an id behind tag and permissions.
constexpr uint16_t kAclTagUser = 0x02;
constexpr uint16_t kAclTagGroup = 0x08;

template <typename T>
T turn_number(ByteSpan bytes, ByteOrder order) {
  Number<T> raw;
  std::memcpy(&raw, bytes.data(), sizeof raw);
  const T value = raw.in(order);
  const LittleEndian<T> turned(value);
  std::memcpy(bytes.data(), &turned, sizeof turned);
  return value;
}

// ext2 has the same numbers, and always in this order.  Whether they make sense is looked at
// then.
void make_little_endian(ByteSpan acl, ByteOrder order) {
  if (acl.size() >= sizeof(uint32_t)) {
    turn_number<uint32_t>(acl, order);
    acl = acl.subspan(sizeof(uint32_t));
  }
  while (acl.size() >= 2 * sizeof(uint16_t)) {
    const uint16_t tag = turn_number<uint16_t>(acl, order);
    turn_number<uint16_t>(acl.subspan(sizeof(uint16_t)), order);
    acl = acl.subspan(2 * sizeof(uint16_t));
    if ((tag == kAclTagUser || tag == kAclTagGroup) && acl.size() >= sizeof(uint32_t)) {
      turn_number<uint32_t>(acl, order);
      acl = acl.subspan(sizeof(uint32_t));
    }
  }
}

Result<Attribute> attribute_of(const Image& image, uint32_t inode, const XattrNode& node,
                               ByteOrder order) {
  const std::optional<uint8_t> index = name_index_of(node.prefix);
  if (!index) {
    return unsupported("{}: inode {}: an attribute of the unknown kind {}", image.name(), inode,
                       node.prefix);
  }
  Attribute attribute{*index, node.name, node.value};
  if (is_acl(node.prefix)) {
    attribute.name.clear();
    make_little_endian(attribute.value, order);
  }
  const auto named = named_attribute(attribute);
  if (!named) {
    return corrupt("{}: inode {}: {}", image.name(), inode, named.error().message);
  }
  return attribute;
}

}  // namespace

Result<std::vector<Attribute>> attributes_of(const Image& image, const Nodes& nodes,
                                             uint32_t inode) {
  // Of two of one name, which a power cut can leave, the younger one counts.
  std::vector<std::pair<uint32_t, const XattrNode*>> found;
  for (auto xref = nodes.xrefs.lower_bound({inode, 0});
       xref != nodes.xrefs.end() && xref->first.first == inode; ++xref) {
    const auto node = nodes.xattrs.find(xref->first.second);
    if ((xref->second & kXrefDeleted) == 0 && node != nodes.xattrs.end() &&
        node->second.version != kXattrDeleted) {
      found.emplace_back(xref->second, &node->second);
    }
  }
  std::ranges::sort(found, std::greater<>(), &std::pair<uint32_t, const XattrNode*>::first);
  std::vector<Attribute> attributes;
  for (const auto& [number, node] : found) {
    UNIONFS_ASSIGN(Attribute attribute, attribute_of(image, inode, *node, nodes.order));
    attributes.push_back(std::move(attribute));
  }
  std::ranges::stable_sort(attributes, {}, [](const Attribute& attribute) {
    return std::tie(attribute.name_index, attribute.name);
  });
  const auto have_same_name = [](const Attribute& one, const Attribute& other) {
    return one.name_index == other.name_index && one.name == other.name;
  };
  attributes.erase(std::unique(attributes.begin(), attributes.end(), have_same_name),
                   attributes.end());
  return attributes;
}

}  // namespace unionfs::jffs2
