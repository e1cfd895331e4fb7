// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/sources/jffs2_writer.h"

#include <cstring>

namespace unionfs::testing {

using namespace jffs2;

namespace {

size_t aligned(size_t length) {
  return (length + kNodeAlignmentBytes - 1) / kNodeAlignmentBytes * kNodeAlignmentBytes;
}

void store_32(std::string& bytes, size_t offset, uint32_t number, ByteOrder order) {
  for (size_t at = 0; at < 4; ++at) {
    const size_t shift = order == ByteOrder::kBig ? 24 - 8 * at : 8 * at;
    bytes[offset + at] = static_cast<char>(number >> shift);
  }
}

template <typename T>
T load(const std::string& bytes, size_t offset, ByteOrder order) {
  Number<T> raw;
  std::memcpy(&raw, bytes.data() + offset, sizeof raw);
  return raw.in(order);
}

// Of the bytes [begin, end), to be stored at `place`.
void mend_sum(std::string& bytes, size_t begin, size_t end, size_t place, ByteOrder order) {
  store_32(bytes, place, jffs2_checksum(std::string_view(bytes).substr(begin, end - begin)), order);
}

// `end` is where the node ends, which lies in the image.
void mend_node(std::string& bytes, size_t node, size_t end, ByteOrder order) {
  const size_t length = end - node;
  const auto data_end = [&](size_t begin, size_t data_length) {
    return std::min(end, begin + data_length);
  };
  switch (load<uint16_t>(bytes, node + 2, order)) {
    case kDirent:
      if (length >= sizeof(RawDirent)) {
        const size_t name = node + sizeof(RawDirent);
        const auto name_length = static_cast<uint8_t>(bytes[node + 28]);
        mend_sum(bytes, name, data_end(name, name_length), node + 36, order);
        mend_sum(bytes, node, node + 32, node + 32, order);
      }
      break;
    case kInode:
      if (length >= sizeof(RawInode)) {
        const size_t data = node + sizeof(RawInode);
        const auto data_length = load<uint32_t>(bytes, node + 48, order);
        mend_sum(bytes, data, data_end(data, data_length), node + 60, order);
        mend_sum(bytes, node, node + 60, node + 64, order);
      }
      break;
    case kXattr:
      if (length >= sizeof(RawXattr)) {
        const size_t data = node + sizeof(RawXattr);
        const size_t data_length = static_cast<uint8_t>(bytes[node + 21]) + size_t{1} +
                                   load<uint16_t>(bytes, node + 22, order);
        mend_sum(bytes, data, data_end(data, data_length), node + 24, order);
        mend_sum(bytes, node, node + 28, node + 28, order);
      }
      break;
    case kXref:
      if (length >= sizeof(RawXref)) {
        mend_sum(bytes, node, node + 24, node + 24, order);
      }
      break;
    default:
      break;
  }
}

}  // namespace

// Bit by bit: another way than the one that is tested.
uint32_t jffs2_checksum(std::string_view bytes) {
  constexpr uint32_t kPolynomial = 0xedb88320;
  uint32_t sum = 0;
  for (const char byte : bytes) {
    sum ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      sum = sum >> 1 ^ ((sum & 1) != 0 ? kPolynomial : 0);
    }
  }
  return sum;
}

void mend_jffs2(std::string& bytes, ByteOrder order) {
  size_t node = 0;
  while (node + sizeof(NodeHeader) <= bytes.size()) {
    const uint32_t length = load<uint32_t>(bytes, node + 4, order);
    if (load<uint16_t>(bytes, node, order) != kMagic || length < sizeof(NodeHeader) ||
        length > bytes.size() - node) {
      node += kNodeAlignmentBytes;
      continue;
    }
    mend_sum(bytes, node, node + 8, node + 8, order);
    mend_node(bytes, node, node + length, order);
    node += aligned(length);
  }
}

void Jffs2Writer::put_16(std::string& to, uint16_t number) const {
  const auto low = static_cast<char>(number);
  const auto high = static_cast<char>(number >> 8);
  to += order_ == ByteOrder::kBig ? high : low;
  to += order_ == ByteOrder::kBig ? low : high;
}

void Jffs2Writer::put_32(std::string& to, uint32_t number) const {
  to.append(4, '\0');
  store_32(to, to.size() - 4, number, order_);
}

std::string Jffs2Writer::header(uint16_t type, size_t rest_bytes) const {
  std::string node;
  put_16(node, kMagic);
  put_16(node, type);
  put_32(node, static_cast<uint32_t>(sizeof(NodeHeader) + rest_bytes));
  put_32(node, jffs2_checksum(node));
  return node;
}

size_t Jffs2Writer::append(const std::string& node) {
  const size_t place = bytes_.size();
  bytes_ += node;
  bytes_.resize(aligned(bytes_.size()), '\xff');
  return place;
}

size_t Jffs2Writer::add_name(const Jffs2Dirent& dirent) {
  std::string node = header(kDirent, sizeof(RawDirent) - sizeof(NodeHeader) + dirent.name.size());
  put_32(node, dirent.parent);
  put_32(node, dirent.version);
  put_32(node, dirent.inode);
  put_32(node, dirent.time);
  node += static_cast<char>(dirent.name.size());
  node += static_cast<char>(dirent.type);
  put_16(node, 0);
  put_32(node, jffs2_checksum(node));
  put_32(node, jffs2_checksum(dirent.name));
  return append(node + dirent.name);
}

size_t Jffs2Writer::add(const Jffs2Inode& inode) {
  std::string node = header(kInode, sizeof(RawInode) - sizeof(NodeHeader) + inode.data.size());
  put_32(node, inode.inode);
  put_32(node, inode.version);
  put_32(node, inode.mode);
  put_16(node, inode.owner);
  put_16(node, inode.owner);
  put_32(node, inode.size);
  put_32(node, inode.time);
  put_32(node, inode.time + 1);
  put_32(node, inode.time + 2);
  put_32(node, inode.offset);
  put_32(node, static_cast<uint32_t>(inode.data.size()));
  put_32(node, inode.data_size != 0 ? inode.data_size : static_cast<uint32_t>(inode.data.size()));
  node += static_cast<char>(inode.compression);
  node += '\0';
  put_16(node, inode.flags);
  const uint32_t node_sum = jffs2_checksum(node);
  put_32(node, jffs2_checksum(inode.data));
  put_32(node, node_sum);
  return append(node + inode.data);
}

size_t Jffs2Writer::add(const Jffs2Xattr& xattr) {
  const std::string data = xattr.name + '\0' + xattr.value;
  std::string node = header(kXattr, sizeof(RawXattr) - sizeof(NodeHeader) + data.size());
  put_32(node, xattr.xid);
  put_32(node, xattr.version);
  node += static_cast<char>(xattr.prefix);
  node += static_cast<char>(xattr.name.size());
  put_16(node, static_cast<uint16_t>(xattr.value.size()));
  put_32(node, jffs2_checksum(data));
  put_32(node, jffs2_checksum(node));
  return append(node + data);
}

size_t Jffs2Writer::add_xref(uint32_t inode, uint32_t xid, uint32_t number) {
  std::string node = header(kXref, sizeof(RawXref) - sizeof(NodeHeader));
  put_32(node, inode);
  put_32(node, xid);
  put_32(node, number);
  put_32(node, jffs2_checksum(node));
  return append(node);
}

size_t Jffs2Writer::add_node(uint16_t type, std::string_view rest) {
  return append(header(type, rest.size()) + std::string(rest));
}

size_t Jffs2Writer::add_bytes(std::string_view bytes) {
  return append(std::string(bytes));
}

void Jffs2Writer::add_file(const std::string& name, const Jffs2Inode& inode, uint32_t parent) {
  add(inode);
  add_name({parent, 1, inode.inode, name, 0, 0});
}

std::shared_ptr<MemoryImage> Jffs2Writer::image() const {
  const auto* begin = reinterpret_cast<const std::byte*>(bytes_.data());
  return std::make_shared<MemoryImage>("flash.img",
                                       std::vector<std::byte>(begin, begin + bytes_.size()));
}

}  // namespace unionfs::testing
