// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/jffs2_file_bytes.h"

#include <algorithm>
#include <map>

#include "overlay/sources/jffs2_compression.h"

namespace unionfs::jffs2 {
namespace {

// The kernel compresses no more than one page at a time, and mkfs.jffs2 neither.
constexpr uint32_t kMostUnpackedBytes = uint32_t{1} << 20;

std::string place_of(const Image& image, uint32_t inode, const InodeNode& node) {
  return fmt::format("{}: inode {}: the node at byte {}", image.name(), inode, node.place);
}

// Whether its data can be had at all.
Result<void> check_node(const Image& image, uint32_t inode, const InodeNode& node) {
  switch (node.compression) {
    case kComprZero:
      return {};
    case kComprNone:
      if (node.packed_bytes != node.data_bytes) {
        return corrupt("{}: {} bytes as they are make {} bytes", place_of(image, inode, node),
                       node.packed_bytes, node.data_bytes);
      }
      return {};
    default:
      break;
  }
  if (!is_known_compression(node.compression)) {
    return unsupported("{}: its compressor {} is not known", place_of(image, inode, node),
                       node.compression);
  }
  if (node.data_bytes > kMostUnpackedBytes) {
    return corrupt("{}: {} compressed bytes in one node", place_of(image, inode, node),
                   node.data_bytes);
  }
  return {};
}

// Of a checked node that is compressed.
Result<std::vector<std::byte>> unpack_node(const Image& image, uint32_t inode,
                                           const InodeNode& node) {
  std::vector<std::byte> packed(node.packed_bytes);
  if (!packed.empty()) {
    UNIONFS_TRY(image.read(node.data_place(), packed));
  }
  std::vector<std::byte> data(node.data_bytes);
  if (!unpack(node.compression, packed, data)) {
    return corrupt("{}: its data cannot be unpacked", place_of(image, inode, node));
  }
  return data;
}

// A part of the file and the node that has it.
struct NodePiece {
  uint64_t begin = 0;
  uint64_t end = 0;
  InodeNode node;
};

// Where each byte of the file is.
class NodeMap {
 public:
  void lay_over(const InodeNode& node) {
    const uint64_t begin = node.offset;
    const uint64_t end = begin + node.data_bytes;
    if (begin == end) {
      return;
    }
    split_at(begin);
    split_at(end);
    pieces_.erase(pieces_.lower_bound(begin), pieces_.lower_bound(end));
    pieces_[begin] = {begin, end, node};
  }

  void cut_to(uint64_t size) {
    split_at(size);
    pieces_.erase(pieces_.lower_bound(size), pieces_.end());
  }

  std::vector<NodePiece> pieces() const {
    std::vector<NodePiece> pieces;
    pieces.reserve(pieces_.size());
    for (const auto& [begin, piece] : pieces_) {
      pieces.push_back(piece);
    }
    return pieces;
  }

 private:
  void split_at(uint64_t offset) {
    auto after = pieces_.lower_bound(offset);
    if (after == pieces_.begin()) {
      return;
    }
    NodePiece& before = std::prev(after)->second;
    if (before.end > offset) {
      pieces_.emplace_hint(after, offset, NodePiece{offset, before.end, before.node});
      before.end = offset;
    }
  }

  std::map<uint64_t, NodePiece> pieces_;  // by their begin
};

class Jffs2FileBytes final : public FileBytes {
 public:
  Jffs2FileBytes(std::shared_ptr<const Image> image, uint32_t inode, std::vector<NodePiece> pieces,
                 uint64_t size_bytes)
      : image_(std::move(image)), inode_(inode), pieces_(std::move(pieces)), size_(size_bytes) {}

  uint64_t size_bytes() const override { return size_; }

  Result<std::optional<ByteRange>> next_data(uint64_t offset) override {
    auto piece = first_behind(offset);
    while (piece != pieces_.end() && is_hole(*piece)) {
      ++piece;
    }
    if (piece == pieces_.end()) {
      return std::optional<ByteRange>();
    }
    ByteRange range{std::max(piece->begin, offset), piece->end};
    for (++piece; piece != pieces_.end() && !is_hole(*piece) && piece->begin == range.end;
         ++piece) {
      range.end = piece->end;
    }
    return std::optional(range);
  }

  Result<void> read(uint64_t offset, ByteSpan buffer) override {
    std::ranges::fill(buffer, std::byte{0});
    const uint64_t end = offset + buffer.size();
    for (auto piece = first_behind(offset); piece != pieces_.end() && piece->begin < end; ++piece) {
      const uint64_t from = std::max(offset, piece->begin);
      const uint64_t to = std::min(end, piece->end);
      UNIONFS_TRY(read_piece(piece->node, from, buffer.subspan(from - offset, to - from)));
    }
    return {};
  }

 private:
  static bool is_hole(const NodePiece& piece) { return piece.node.compression == kComprZero; }

  std::vector<NodePiece>::const_iterator first_behind(uint64_t offset) const {
    return std::ranges::upper_bound(pieces_, offset, {}, &NodePiece::end);
  }

  Result<void> read_piece(const InodeNode& node, uint64_t from, ByteSpan buffer) {
    if (node.compression == kComprZero) {
      return {};
    }
    const uint64_t inside = from - node.offset;
    if (node.compression == kComprNone) {
      return image_->read(node.data_place() + inside, buffer);
    }
    if (!unpacked_place_ || *unpacked_place_ != node.place) {
      unpacked_place_.reset();
      UNIONFS_ASSIGN(unpacked_, unpack_node(*image_, inode_, node));
      unpacked_place_ = node.place;
    }
    std::ranges::copy(ConstByteSpan(unpacked_).subspan(inside, buffer.size()), buffer.begin());
    return {};
  }

  const std::shared_ptr<const Image> image_;
  const uint32_t inode_;
  const std::vector<NodePiece> pieces_;
  const uint64_t size_;
  std::optional<uint64_t> unpacked_place_;  // the node that is unpacked
  std::vector<std::byte> unpacked_;
};

}  // namespace

Result<std::shared_ptr<FileBytes>> bytes_of_nodes(std::shared_ptr<const Image> image,
                                                  uint32_t inode,
                                                  const std::vector<InodeNode>& nodes) {
  NodeMap map;
  for (const InodeNode& node : nodes) {
    map.lay_over(node);
  }
  map.cut_to(nodes.back().size_bytes);
  std::vector<NodePiece> pieces = map.pieces();
  for (const NodePiece& piece : pieces) {
    UNIONFS_TRY(check_node(*image, inode, piece.node));
  }
  // A file whose last nodes do not count is as long as what is left of it, as the kernel has it.
  const uint64_t size = pieces.empty() ? 0 : pieces.back().end;
  if (size == 0) {
    return std::shared_ptr<FileBytes>();
  }
  return std::shared_ptr<FileBytes>(
      std::make_shared<Jffs2FileBytes>(std::move(image), inode, std::move(pieces), size));
}

Result<std::vector<std::byte>> data_of_node(const Image& image, uint32_t inode,
                                            const InodeNode& node, uint32_t most_bytes) {
  UNIONFS_TRY(check_node(image, inode, node));
  if (node.data_bytes > most_bytes) {
    return corrupt("{}: has {} bytes, but {} at most make sense", place_of(image, inode, node),
                   node.data_bytes, most_bytes);
  }
  if (node.compression == kComprZero || node.compression == kComprNone) {
    std::vector<std::byte> data(node.data_bytes);
    if (node.compression == kComprNone && !data.empty()) {
      UNIONFS_TRY(image.read(node.data_place(), data));
    }
    return data;
  }
  return unpack_node(image, inode, node);
}

}  // namespace unionfs::jffs2
