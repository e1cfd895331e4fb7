// SPDX-License-Identifier: BSD-3-Clause
//
// The layer tables as bytes, both ways.
#include <algorithm>
#include <cstring>

#include "fsparse/block_map.h"
#include "overlay/upper/hash.h"
#include "overlay/upper/layer.h"

namespace unionfs {
namespace {

namespace format = upper_format;

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  const ConstByteSpan more = bytes_of(value);
  bytes.insert(bytes.end(), more.begin(), more.end());
}

// Takes structures off a range of the file, a piece at a time, and hashes what
// it reads: memory follows what was found to be good, not what a length says.
class Taker {
 public:
  Taker(const Image& image, FileRange range)
      : image_(image), next_(range.offset), end_(range.end()) {}

  Result<format::LayerTablesHead> take_head() {
    UNIONFS_ASSIGN(format::LayerTablesHead head, take_raw<format::LayerTablesHead>());
    format::LayerTablesHead hashed = head;
    hashed.checksum = uint64_t{0};
    hash_.add(bytes_of(hashed));
    return head;
  }

  template <typename T>
  Result<T> take() {
    UNIONFS_ASSIGN(const T value, take_raw<T>());
    hash_.add(bytes_of(value));
    return value;
  }

  uint64_t checksum() const { return hash_.value(); }

 private:
  template <typename T>
  Result<T> take_raw() {
    if (piece_.size() < sizeof(T)) {
      UNIONFS_TRY(refill());
    }
    T value;
    std::memcpy(&value, piece_.data(), sizeof(T));
    piece_ = piece_.subspan(sizeof(T));
    return value;
  }

  // The caller takes no more than the range holds.
  Result<void> refill() {
    std::copy(piece_.begin(), piece_.end(), buffer_.begin());
    const uint64_t room = std::min<uint64_t>(buffer_.size() - piece_.size(), end_ - next_);
    UNIONFS_TRY(image_.read(next_, ByteSpan(buffer_).subspan(piece_.size(), room)));
    piece_ = ConstByteSpan(buffer_).first(piece_.size() + room);
    next_ += room;
    return {};
  }

  const Image& image_;
  uint64_t next_;
  uint64_t end_;
  Hash hash_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(64 * 1024);
  ConstByteSpan piece_;  // of the buffer: read, not taken
};

uint64_t arrays_size_bytes(const format::LayerTablesHead& head) {
  return uint64_t{head.translated_count} * sizeof(format::TranslatedBlock) +
         uint64_t{head.kept_inode_count} * sizeof(format::KeptInode) +
         uint64_t{head.kept_xattr_count} * sizeof(format::KeptXattr) +
         uint64_t{head.group_counters_count} * sizeof(format::GroupCounters) +
         uint64_t{head.block_whiteout_count} * sizeof(format::WhiteoutRun) +
         uint64_t{head.inode_whiteout_count} * sizeof(format::WhiteoutRun);
}

class Decoder {
 public:
  Decoder(const std::string& name, const Layout& merged, const format::LayerTablesHead& head,
          Taker& taker)
      : name_(name), merged_(merged), head_(head), taker_(taker) {}

  Result<LayerTables> decode() {
    UNIONFS_TRY(take_features());
    UNIONFS_TRY(ascending("bits of own reserved inodes", head_.reserved_inodes_own, 0,
                          1U << (ext2::kGoodOldFirstInode - 1)));
    UNIONFS_TRY(ascending("mark of the boot area", head_.boot_own, 0, 2));
    tables_.reserved_inodes_own = head_.reserved_inodes_own;
    tables_.boot_own = head_.boot_own != 0;
    UNIONFS_TRY(take_translated());
    UNIONFS_TRY(take_kept());
    UNIONFS_TRY(take_counters());
    UNIONFS_TRY(take_whiteouts());
    if (taker_.checksum() != head_.checksum) {
      return corrupt("{}: state area: layer tables: checksum is {:#018x}, not {:#018x}", name_,
                     taker_.checksum(), head_.checksum);
    }
    return std::move(tables_);
  }

 private:
  Result<void> ascending(const char* what, uint64_t number, uint64_t least, uint64_t limit) {
    if (number < least || number >= limit) {
      return out_of_order(what, number);
    }
    return {};
  }
  Failure out_of_order(const char* what, uint64_t number) const {
    return corrupt("{}: state area: layer tables: {} {} is out of order or out of range", name_,
                   what, number);
  }
  Result<BlockNumber> take_block(const char* what, Le32 number, uint64_t least) const {
    const std::optional<BlockNumber> block = merged_.block(ClaimedBlock(number));
    return block && number >= least ? Result<BlockNumber>(*block) : out_of_order(what, number);
  }
  Result<InodeNumber> take_inode(const char* what, Le32 number, uint64_t least) const {
    const std::optional<InodeNumber> inode = merged_.inode(ClaimedInode(number));
    return inode && number >= least ? Result<InodeNumber>(*inode) : out_of_order(what, number);
  }

  // Whether they fit the merged geometry is a question for who knows the lower.
  Result<void> take_features() {
    MergedFeatures& features = tables_.features;
    features = {head_.merged_rev_level, head_.merged_feature_compat, head_.merged_feature_incompat,
                head_.merged_feature_ro_compat};
    UNIONFS_TRY(ascending("merged revision", features.rev_level, 0, ext2::kDynamicRevision + 1));
    const std::string refused =
        refused_features(features.compat, features.incompat, features.ro_compat);
    if (!refused.empty()) {
      return corrupt(
          "{}: state area: layer tables: the merged image has features that plain ext2 has not: {}",
          name_, refused);
    }
    return {};
  }

  Result<void> take_translated() {
    uint64_t least = merged_.first_data_block + 1;
    for (uint32_t i = 0; i < head_.translated_count; ++i) {
      UNIONFS_ASSIGN(const auto raw, taker_.take<format::TranslatedBlock>());
      UNIONFS_ASSIGN(const BlockNumber block, take_block("translated block", raw.block, least));
      UNIONFS_ASSIGN(const InodeNumber inode,
                     take_inode("inode of a translated block", raw.inode, 1));
      UNIONFS_TRY(ascending("kind of a translated block", raw.kind, 1, 6));
      UNIONFS_TRY(ascending("level of a translated block", raw.level, 0, kMaxLevel + 1));
      UNIONFS_TRY(ascending("reserved word of a translated block", raw.reserved, 0, 1));
      least = raw.block + uint64_t{1};
      tables_.translated.push_back(
          {block, inode, raw.file_block, static_cast<TranslatedKind>(raw.kind), raw.level});
    }
    return {};
  }

  Result<void> take_kept() {
    uint64_t least = 1;
    for (uint32_t i = 0; i < head_.kept_inode_count; ++i) {
      UNIONFS_ASSIGN(const auto raw, taker_.take<format::KeptInode>());
      UNIONFS_ASSIGN(const InodeNumber inode, take_inode("kept inode", raw.inode, least));
      UNIONFS_TRY(ascending("i_links_count of a kept inode", raw.i_links_count, 0,
                            uint64_t{UINT16_MAX} + 1));
      least = raw.inode + uint64_t{1};
      tables_.kept_inodes.push_back({inode, raw.i_blocks, raw.i_links_count});
    }
    least = merged_.first_data_block + 1;
    for (uint32_t i = 0; i < head_.kept_xattr_count; ++i) {
      UNIONFS_ASSIGN(const auto raw, taker_.take<format::KeptXattr>());
      UNIONFS_ASSIGN(const BlockNumber block, take_block("kept xattr block", raw.block, least));
      least = raw.block + uint64_t{1};
      tables_.kept_xattrs.push_back({block, raw.h_refcount});
    }
    return {};
  }

  Result<void> take_counters() {
    uint64_t least = 0;
    for (uint32_t i = 0; i < head_.group_counters_count; ++i) {
      UNIONFS_ASSIGN(const auto raw, taker_.take<format::GroupCounters>());
      const std::optional<GroupNumber> group = merged_.group(ClaimedGroup(raw.group));
      if (!group || raw.group < least) {
        return out_of_order("counters of group", raw.group);
      }
      const uint64_t blocks = merged_.blocks_of(*group).count();
      const uint64_t inodes = merged_.inodes_per_group;
      UNIONFS_TRY(ascending("free blocks of a group", raw.free_blocks_count, 0, blocks + 1));
      UNIONFS_TRY(ascending("free inodes of a group", raw.free_inodes_count, 0, inodes + 1));
      UNIONFS_TRY(ascending("directories of a group", raw.used_dirs_count, 0, inodes + 1));
      least = raw.group + uint64_t{1};
      tables_.counters.push_back(
          {*group, raw.free_blocks_count, raw.free_inodes_count, raw.used_dirs_count});
    }
    return {};
  }

  Result<void> take_whiteouts() {
    uint64_t least = merged_.first_data_block;
    for (uint32_t i = 0; i < head_.block_whiteout_count; ++i) {
      UNIONFS_ASSIGN(const auto raw, taker_.take<format::WhiteoutRun>());
      const uint64_t end = uint64_t{raw.first} + raw.count;
      UNIONFS_ASSIGN(const BlockNumber first, take_block("whited-out block", raw.first, least));
      UNIONFS_TRY(ascending("end of whited-out blocks", end, raw.first + uint64_t{1},
                            merged_.block_count + 1));
      least = end;
      tables_.block_whiteouts.push_back({first, first + raw.count});
    }
    least = 1;
    for (uint32_t i = 0; i < head_.inode_whiteout_count; ++i) {
      UNIONFS_ASSIGN(const auto raw, taker_.take<format::WhiteoutRun>());
      const uint64_t end = uint64_t{raw.first} + raw.count;
      UNIONFS_ASSIGN(const InodeNumber first, take_inode("whited-out inode", raw.first, least));
      UNIONFS_TRY(ascending("end of whited-out inodes", end, raw.first + uint64_t{1},
                            merged_.inode_count() + 2));
      least = end;
      tables_.inode_whiteouts.push_back({first, first + raw.count});
    }
    return {};
  }

  const std::string& name_;
  const Layout& merged_;
  const format::LayerTablesHead& head_;
  Taker& taker_;
  LayerTables tables_;
};

}  // namespace

std::vector<std::byte> encode_layer_tables(const LayerTables& tables) {
  format::LayerTablesHead head = {};
  head.magic = format::kLayerTablesMagic;
  head.merged_rev_level = tables.features.rev_level;
  head.merged_feature_compat = tables.features.compat;
  head.merged_feature_incompat = tables.features.incompat;
  head.merged_feature_ro_compat = tables.features.ro_compat;
  head.reserved_inodes_own = tables.reserved_inodes_own;
  head.boot_own = tables.boot_own ? 1U : 0U;
  head.translated_count = static_cast<uint32_t>(tables.translated.size());
  head.kept_inode_count = static_cast<uint32_t>(tables.kept_inodes.size());
  head.kept_xattr_count = static_cast<uint32_t>(tables.kept_xattrs.size());
  head.group_counters_count = static_cast<uint32_t>(tables.counters.size());
  head.block_whiteout_count = static_cast<uint32_t>(tables.block_whiteouts.size());
  head.inode_whiteout_count = static_cast<uint32_t>(tables.inode_whiteouts.size());

  std::vector<std::byte> bytes;
  append(bytes, head);
  for (const TranslatedBlock& entry : tables.translated) {
    append(bytes,
           format::TranslatedBlock{static_cast<uint32_t>(entry.block.value()), entry.inode.value(),
                                   entry.file_block, static_cast<uint8_t>(entry.kind), entry.level,
                                   uint16_t{0}});
  }
  for (const KeptInode& entry : tables.kept_inodes) {
    append(bytes, format::KeptInode{entry.inode.value(), entry.block_sectors, entry.links_count});
  }
  for (const KeptXattr& entry : tables.kept_xattrs) {
    append(bytes, format::KeptXattr{static_cast<uint32_t>(entry.block.value()), entry.refcount});
  }
  for (const GroupCounters& entry : tables.counters) {
    append(bytes, format::GroupCounters{entry.group.value(), entry.free_blocks_count,
                                        entry.free_inodes_count, entry.used_dirs_count});
  }
  for (const BlockRange& range : tables.block_whiteouts) {
    append(bytes, format::WhiteoutRun{static_cast<uint32_t>(range.begin.value()),
                                      static_cast<uint32_t>(range.count())});
  }
  for (const InodeRange& range : tables.inode_whiteouts) {
    append(bytes, format::WhiteoutRun{range.begin.value(), range.count()});
  }
  head.checksum = XXH3_64bits(bytes.data(), bytes.size());  // its own field is zero so far
  std::memcpy(bytes.data(), &head, sizeof(head));
  return bytes;
}

Result<LayerTables> read_layer_tables(const Image& upper, FileRange range, const Layout& merged) {
  if (range.length < sizeof(format::LayerTablesHead)) {
    return corrupt("{}: state area: layer tables of {} bytes are too short", upper.name(),
                   range.length);
  }
  Taker taker(upper, range);
  UNIONFS_ASSIGN(const format::LayerTablesHead head, taker.take_head());
  if (head.magic != format::kLayerTablesMagic) {
    return corrupt("{}: state area: layer tables have no magic", upper.name());
  }
  if (arrays_size_bytes(head) != range.length - sizeof(head)) {
    return corrupt("{}: state area: layer tables of {} bytes, but their counts make {}",
                   upper.name(), range.length, arrays_size_bytes(head) + sizeof(head));
  }
  return Decoder(upper.name(), merged, head, taker).decode();
}

}  // namespace unionfs
