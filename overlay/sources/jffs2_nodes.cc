// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/jffs2_nodes.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

namespace unionfs::jffs2 {
namespace {

constexpr size_t kWindowBytes = size_t{256} << 10;
constexpr uint64_t kSearchedBytes = uint64_t{1} << 20;
// Damage is told so often, then counted.
constexpr uint64_t kMostNotes = 20;

// zlib inverts a checksum before and behind.
uint32_t checksum(ConstByteSpan bytes, uint32_t before = 0) {
  return ~static_cast<uint32_t>(::crc32(~before, reinterpret_cast<const Bytef*>(bytes.data()),
                                        static_cast<uInt>(bytes.size())));
}

template <typename T>
T structure_at(ConstByteSpan bytes) {
  T structure;
  std::memcpy(&structure, bytes.data(), sizeof structure);
  return structure;
}

// The image through a buffer that moves forwards.
class Window {
 public:
  explicit Window(const Image& image) : image_(image) {}

  uint64_t size_bytes() const { return image_.size_bytes(); }
  const Image& image() const { return image_; }

  // Good until the next call.  The bytes must lie in the image; at most kWindowBytes.
  Result<ConstByteSpan> bytes(uint64_t offset, size_t length) {
    if (offset < begin_ || offset + length > begin_ + bytes_.size()) {
      bytes_.resize(std::min<uint64_t>(kWindowBytes, image_.size_bytes() - offset));
      begin_ = offset;
      UNIONFS_TRY(image_.read(offset, bytes_));
    }
    return ConstByteSpan(bytes_).subspan(offset - begin_, length);
  }

  // What is buffered from there on; at least a byte.
  Result<ConstByteSpan> some_bytes(uint64_t offset) {
    UNIONFS_TRY(bytes(offset, 1));
    return ConstByteSpan(bytes_).subspan(offset - begin_);
  }

  Result<uint32_t> checksum_of(uint64_t offset, uint64_t length) {
    uint32_t sum = 0;
    while (length > 0) {
      UNIONFS_ASSIGN(ConstByteSpan part, some_bytes(offset));
      part = part.first(std::min<uint64_t>(part.size(), length));
      sum = checksum(part, sum);
      offset += part.size();
      length -= part.size();
    }
    return sum;
  }

  // The first word at or behind `offset` that is not erased, or the end of the image.
  Result<uint64_t> skip_erased(uint64_t offset) {
    while (offset + sizeof(kErasedWord) <= size_bytes()) {
      UNIONFS_ASSIGN(const ConstByteSpan part, some_bytes(offset));
      const size_t whole = part.size() / sizeof(kErasedWord) * sizeof(kErasedWord);
      if (whole == 0) {
        UNIONFS_ASSIGN(const ConstByteSpan word, bytes(offset, sizeof(kErasedWord)));
        if (structure_at<uint32_t>(word) != kErasedWord) {
          return offset;
        }
        offset += sizeof(kErasedWord);
        continue;
      }
      for (size_t at = 0; at < whole; at += sizeof(kErasedWord)) {
        if (structure_at<uint32_t>(part.subspan(at)) != kErasedWord) {
          return offset + at;
        }
      }
      offset += whole;
    }
    return size_bytes();
  }

 private:
  const Image& image_;
  uint64_t begin_ = 0;
  std::vector<std::byte> bytes_;
};

struct Header {
  uint16_t type = 0;  // without kAccurate where the node is obsolete
  uint32_t size_bytes = 0;
};

// None: there is no node.
std::optional<Header> parse_header(ConstByteSpan bytes, ByteOrder order) {
  NodeHeader raw = structure_at<NodeHeader>(bytes);
  if (raw.magic.in(order) != kMagic) {
    return std::nullopt;
  }
  const Header header{raw.nodetype.in(order), raw.totlen.in(order)};
  // The bit is cleared in place; it is in the first byte of the number as people write it.
  raw.nodetype.bytes[order == ByteOrder::kBig ? 0 : 1] |= kAccurate >> 8;
  const ConstByteSpan covered = std::as_bytes(std::span(&raw, 1)).first<8>();
  if (checksum(covered) != raw.header_crc.in(order) || header.size_bytes < sizeof raw) {
    return std::nullopt;
  }
  return header;
}

uint64_t padded(uint64_t length) {
  return (length + kNodeAlignmentBytes - 1) / kNodeAlignmentBytes * kNodeAlignmentBytes;
}

class NodeReader {
 public:
  NodeReader(const Image& image, const LogSink& notes, ByteOrder order)
      : window_(image), notes_(notes) {
    nodes_.order = order;
  }

  Result<Nodes> read() {
    uint64_t offset = 0;
    while (offset + sizeof(NodeHeader) <= window_.size_bytes()) {
      UNIONFS_ASSIGN(offset, window_.skip_erased(offset));
      if (offset + sizeof(NodeHeader) > window_.size_bytes()) {
        break;
      }
      UNIONFS_ASSIGN(const ConstByteSpan bytes, window_.bytes(offset, sizeof(NodeHeader)));
      const std::optional<Header> header = parse_header(bytes, nodes_.order);
      if (!header || header->size_bytes > window_.size_bytes() - offset) {
        offset += kNodeAlignmentBytes;
        continue;
      }
      UNIONFS_ASSIGN(const uint64_t length, read_node(offset, *header));
      offset += padded(length);
    }
    finish();
    return std::move(nodes_);
  }

 private:
  // How many bytes it takes.
  Result<uint64_t> read_node(uint64_t place, const Header& header) {
    switch (header.type) {
      case kDirent:
        UNIONFS_TRY(read_dirent(place, header.size_bytes));
        break;
      case kInode:
        UNIONFS_TRY(read_inode_node(place, header.size_bytes));
        break;
      case kXattr:
        UNIONFS_TRY(read_xattr(place, header.size_bytes));
        break;
      case kXref:
        UNIONFS_TRY(read_xref(place, header.size_bytes));
        break;
      case kCleanMarker:
      case kPadding:
      case kSummary:
        break;
      default:
        // An obsolete node is passed over, whatever it is.
        if ((header.type & kAccurate) != 0 && (header.type & kCompatibilityMask) == kIncompatible) {
          return unsupported("{}: the node at byte {} is of the unknown type {:#06x}",
                             window_.image().name(), place, header.type);
        }
    }
    return header.size_bytes;
  }

  void note_damage(uint64_t place, const char* what) {
    if (++damaged_ <= kMostNotes && notes_) {
      notes_(fmt::format("{}: the node at byte {} does not count: {}", window_.image().name(),
                         place, what));
    }
  }

  void finish() {
    for (auto& [inode, nodes] : nodes_.inodes) {
      // Copies of one node, which a garbage collection leaves, stay in order.
      std::ranges::stable_sort(nodes, {}, &InodeNode::version);
    }
    if (damaged_ > kMostNotes && notes_) {
      notes_(fmt::format("{}: {} more nodes do not count", window_.image().name(),
                         damaged_ - kMostNotes));
    }
  }

  // The fixed part of a node, if it is whole.
  template <typename T>
  Result<std::optional<T>> head(uint64_t place, uint32_t size_bytes, size_t checked_bytes,
                                U32 T::*sum) {
    if (size_bytes < sizeof(T)) {
      note_damage(place, "it is too short");
      return std::optional<T>();
    }
    UNIONFS_ASSIGN(const ConstByteSpan bytes, window_.bytes(place, sizeof(T)));
    const T raw = structure_at<T>(bytes);
    if (checksum(bytes.first(checked_bytes)) != (raw.*sum).in(nodes_.order)) {
      note_damage(place, "its checksum is wrong");
      return std::optional<T>();
    }
    return std::optional<T>(raw);
  }

  Result<void> read_dirent(uint64_t place, uint32_t size_bytes) {
    const ByteOrder order = nodes_.order;
    UNIONFS_ASSIGN(const auto raw,
                   head<RawDirent>(place, size_bytes, sizeof(RawDirent) - 8, &RawDirent::node_crc));
    if (!raw) {
      return {};
    }
    if (padded(sizeof *raw + raw->nsize) != padded(size_bytes)) {
      note_damage(place, "its name has another length than it says");
      return {};
    }
    UNIONFS_ASSIGN(const ConstByteSpan bytes, window_.bytes(place + sizeof *raw, raw->nsize));
    const std::string name(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (checksum(bytes) != raw->name_crc.in(order) || name.find('\0') != std::string::npos) {
      note_damage(place, "the checksum of its name is wrong");
      return {};
    }
    DirectoryNodes& directory = nodes_.directories[raw->pino.in(order)];
    const NewestName found{raw->version.in(order), raw->ino.in(order), raw->type, place};
    if (found.version > directory.time_version && raw->mctime.in(order) != 0) {
      directory.time_version = found.version;
      directory.time = raw->mctime.in(order);
    }
    NewestName& newest = directory.names[name];
    if (found.version >= newest.version) {
      newest = found;
    }
    return {};
  }

  Result<void> read_inode_node(uint64_t place, uint32_t size_bytes) {
    const ByteOrder order = nodes_.order;
    UNIONFS_ASSIGN(const auto raw,
                   head<RawInode>(place, size_bytes, sizeof(RawInode) - 8, &RawInode::node_crc));
    if (!raw) {
      return {};
    }
    const uint32_t packed_bytes = raw->csize.in(order);
    uint32_t data_bytes = raw->dsize.in(order);
    if (padded(uint64_t{sizeof *raw} + packed_bytes) != padded(size_bytes) ||
        raw->offset.in(order) > raw->isize.in(order)) {
      note_damage(place, "its lengths contradict one another");
      return {};
    }
    UNIONFS_ASSIGN(const uint32_t sum, window_.checksum_of(place + sizeof *raw, packed_bytes));
    if (packed_bytes != 0 && sum != raw->data_crc.in(order)) {
      note_damage(place, "the checksum of its data is wrong");
      return {};
    }
    // Old kernels wrote holes with these two changed round.
    if (raw->compr == kComprZero && data_bytes == 0) {
      data_bytes = packed_bytes;
    }
    nodes_.inodes[raw->ino.in(order)].push_back(
        {place, raw->version.in(order), raw->mode.in(order), raw->uid.in(order), raw->gid.in(order),
         raw->isize.in(order), raw->atime.in(order), raw->mtime.in(order), raw->ctime.in(order),
         raw->offset.in(order), packed_bytes, data_bytes, raw->compr, raw->flags.in(order)});
    return {};
  }

  Result<void> read_xattr(uint64_t place, uint32_t size_bytes) {
    const ByteOrder order = nodes_.order;
    UNIONFS_ASSIGN(const auto raw,
                   head<RawXattr>(place, size_bytes, sizeof(RawXattr) - 4, &RawXattr::node_crc));
    if (!raw) {
      return {};
    }
    const size_t name_bytes = raw->name_len;
    const size_t value_bytes = raw->value_len.in(order);
    XattrNode node{raw->version.in(order), raw->xprefix, {}, {}};
    if (node.version != kXattrDeleted) {
      const size_t data_bytes = name_bytes + 1 + value_bytes;
      if (padded(sizeof *raw + data_bytes) != padded(size_bytes)) {
        note_damage(place, "its lengths contradict one another");
        return {};
      }
      UNIONFS_ASSIGN(const ConstByteSpan data, window_.bytes(place + sizeof *raw, data_bytes));
      if (checksum(data) != raw->data_crc.in(order)) {
        note_damage(place, "the checksum of its data is wrong");
        return {};
      }
      node.name.assign(reinterpret_cast<const char*>(data.data()), name_bytes);
      node.value.assign(data.begin() + static_cast<ptrdiff_t>(name_bytes) + 1, data.end());
    }
    const auto [known, is_new] = nodes_.xattrs.try_emplace(raw->xid.in(order));
    if (is_new || node.version >= known->second.version) {
      known->second = std::move(node);
    }
    return {};
  }

  Result<void> read_xref(uint64_t place, uint32_t size_bytes) {
    const ByteOrder order = nodes_.order;
    UNIONFS_ASSIGN(const auto raw,
                   head<RawXref>(place, size_bytes, sizeof(RawXref) - 4, &RawXref::node_crc));
    if (!raw) {
      return {};
    }
    const std::pair pair(raw->ino.in(order), raw->xid.in(order));
    const uint32_t number = raw->xseqno.in(order);
    uint32_t& newest = nodes_.xrefs.try_emplace(pair, number).first->second;
    newest = std::max(newest, number);
    return {};
  }

  Window window_;
  const LogSink& notes_;
  Nodes nodes_;
  uint64_t damaged_ = 0;
};

}  // namespace

Result<std::optional<ByteOrder>> find_byte_order(const Image& image) {
  Window window(image);
  uint64_t offset = 0;
  for (uint64_t searched = 0; searched < kSearchedBytes; searched += kNodeAlignmentBytes) {
    UNIONFS_ASSIGN(offset, window.skip_erased(offset));
    if (offset + sizeof(NodeHeader) > window.size_bytes()) {
      break;
    }
    UNIONFS_ASSIGN(const ConstByteSpan bytes, window.bytes(offset, sizeof(NodeHeader)));
    for (const ByteOrder order : {ByteOrder::kLittle, ByteOrder::kBig}) {
      if (parse_header(bytes, order)) {
        return std::optional(order);
      }
    }
    offset += kNodeAlignmentBytes;
  }
  return std::optional<ByteOrder>();
}

Result<Nodes> read_nodes(const Image& image, const LogSink& notes) {
  UNIONFS_ASSIGN(const std::optional<ByteOrder> order, find_byte_order(image));
  if (!order) {
    return invalid("{}: is no jffs2 image: there is no node in it", image.name());
  }
  return NodeReader(image, notes, *order).read();
}

}  // namespace unionfs::jffs2
