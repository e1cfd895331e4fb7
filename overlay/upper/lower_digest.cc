// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/lower_digest.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "overlay/host/cancellation.h"
#include "overlay/upper/falling_blocks.h"
#include "overlay/upper/hash.h"

namespace unionfs {
namespace {

namespace format = upper_format;

// In place of what cannot be read because the lower is damaged there.
constexpr std::array<std::byte, 1> kDamaged = {std::byte{0xd3}};

Result<void> mark_damage(Result<void> result, LongHash& hash) {
  if (!result && result.error().kind == ErrorKind::kCorrupt) {
    hash.add(kDamaged);
    return {};
  }
  return result;
}

// Reading changes the access time, and in some kernels the version beside it.  An
// index may come and go where the names stay.
void add_slot(const InodeRecord& inode, LongHash& hash) {
  InodeRecord record = inode;
  record.raw().i_osd1 = 0U;
  if (record.is_directory()) {
    record.raw().i_flags = record.raw().i_flags & ~ext2::kFlagIndex;
  }
  forget_access_time(record.bytes());
  hash.add(record.bytes());
}

// The block map, and its blocks that fall through if `falling` is there.
Result<void> add_blocks(const Volume& lower, const InodeRecord& inode, const LayerBits& bits,
                        const std::atomic<bool>& is_cancelled, LongHash& hash,
                        FallingBlocks* falling) {
  struct Step {
    Le64 first;
    Le32 block;
    Le32 level;
  };
  constexpr size_t kStepsInPiece = 512;
  std::vector<Step> steps;
  const auto flush = [&] {
    hash.add(std::as_bytes(std::span(steps)));
    steps.clear();
  };
  Result<void> walked =
      walk_block_map(lower, inode, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
        steps.push_back({role.first.value(), static_cast<uint32_t>(block.value()), role.level});
        if (falling != nullptr && role.level == 0) {
          falling->add({role.first, block}, bits.falls_through(lower.layout(), block));
        }
        if (steps.size() == kStepsInPiece) {
          flush();
          UNIONFS_TRY(check_not_cancelled(is_cancelled));
        }
        return WalkStep::kContinue;
      });
  flush();
  return mark_damage(std::move(walked), hash);
}

Result<void> add_xattr_block(const Volume& lower, const InodeRecord& inode, LongHash& hash) {
  const std::optional<BlockNumber> block = lower.file_block(inode.file_acl());
  if (!block) {
    return {};
  }
  std::vector<std::byte> bytes(lower.layout().block_size_bytes);
  UNIONFS_TRY(lower.read_block(*block, bytes));
  hash.add(bytes);
  return {};
}

// Blocks that lie one behind the other are read at once.
Result<Digest> digest_of_blocks(const Volume& lower, const std::vector<FileBlockPlace>& blocks,
                                const std::atomic<bool>& is_cancelled) {
  constexpr size_t kBlocksAtOnce = 16;
  const uint32_t block_size = lower.layout().block_size_bytes;
  LongHash hash;
  std::vector<std::byte> bytes;
  for (size_t begin = 0; begin < blocks.size();) {
    size_t end = begin + 1;
    while (end < blocks.size() && end - begin < kBlocksAtOnce &&
           blocks[end].block == blocks[end - 1].block + 1) {
      ++end;
    }
    UNIONFS_TRY(check_not_cancelled(is_cancelled));
    bytes.resize((end - begin) * block_size);
    UNIONFS_TRY(lower.image().read(lower.layout().offset_of(blocks[begin].block), bytes));
    for (size_t i = begin; i < end; ++i) {
      hash.add(bytes_of(Le64(blocks[i].file_block.value())));
      hash.add(ConstByteSpan(bytes).subspan((i - begin) * block_size, block_size));
    }
    begin = end;
  }
  return hash.value();
}

// A sum of hashes, so that the order of the names does not count and no list of
// them is needed.
class NamesSum {
 public:
  void add(const EntryView& entry) {
    LongHash hash;
    hash.add(bytes_of(Le32(entry.inode.value())));
    hash.add(std::as_bytes(std::span(entry.name)));
    const Digest digest = hash.value();
    unsigned carry = 0;
    for (size_t i = digest.size(); i-- > 0;) {  // canonical, so the last byte is the lowest
      carry += static_cast<unsigned>(sum_[i]) + digest[i];
      sum_[i] = static_cast<uint8_t>(carry);
      carry >>= 8;
    }
  }
  const Digest& value() const { return sum_; }

 private:
  Digest sum_ = {};
};

// The bits that stand for something.
Result<void> add_bitmap(const Volume& lower, BlockNumber place, uint64_t bit_count,
                        LongHash& hash) {
  std::vector<std::byte> bitmap(lower.layout().block_size_bytes);
  UNIONFS_TRY(lower.read_block(place, bitmap));
  clear_bits(bitmap, bit_count, bitmap.size() * 8);
  hash.add(ConstByteSpan(bitmap).first(divide_round_up(bit_count, 8)));
  return {};
}

bool has_bit(const GroupBits& bits, GroupNumber group) {
  const ConstByteSpan of_group = bits.of(group);
  return std::any_of(of_group.begin(), of_group.end(),
                     [](std::byte byte) { return byte != std::byte{0}; });
}

}  // namespace

uint32_t LayerBits::flags_of(const Layout& lower, InodeNumber inode) const {
  const GroupNumber group = lower.group_of(inode);
  const uint32_t bit = (inode.value() - 1) % lower.inodes_per_group;
  return (own_inodes.test(group, bit) ? format::kLowerInodeOwn : 0) |
         (inode_whiteouts.test(group, bit) ? format::kLowerInodeWhitedOut : 0);
}

bool LayerBits::falls_through(const Layout& lower, BlockNumber block) const {
  const GroupNumber group = lower.group_of(block);
  const auto bit = static_cast<uint32_t>(block - lower.blocks_of(group).begin);
  return !own_blocks.test(group, bit) && !block_whiteouts.test(group, bit);
}

bool LayerBits::touches(GroupNumber group) const {
  return has_bit(own_blocks, group) || has_bit(own_inodes, group) ||
         has_bit(block_whiteouts, group) || has_bit(inode_whiteouts, group);
}

Result<LowerInode> LowerDigests::of(InodeNumber inode) const {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, inode));
  LowerInode digested{inode, bits_.flags_of(lower_.layout(), inode)};
  const bool shows_through = digested.flags == format::kLowerInodeOwn;
  FallingBlocks falling(inode, lower_.layout().block_size_bytes);
  FallingBlocks* wanted = shows_through && record.is_regular() ? &falling : nullptr;
  LongHash metadata;
  add_slot(record, metadata);
  UNIONFS_TRY(add_blocks(lower_, record, bits_, is_cancelled_, metadata, wanted));
  UNIONFS_TRY(add_xattr_block(lower_, record, metadata));
  digested.metadata = metadata.value();
  if (wanted != nullptr) {
    UNIONFS_ASSIGN(digested.content, digest_of_blocks(lower_, falling.chosen(), is_cancelled_));
  } else if (shows_through && record.is_directory()) {
    UNIONFS_ASSIGN(digested.content, names_of(record));
  }
  return digested;
}

Result<bool> LowerDigests::covers_content(InodeNumber inode) const {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, inode));
  const uint64_t most = FallingBlocks::kMaxWholeBytes / lower_.layout().block_size_bytes;
  uint64_t falling = 0;
  const Result<void> walked =
      walk_block_map(lower_, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
        falling += role.level == 0 && bits_.falls_through(lower_.layout(), block) ? 1 : 0;
        UNIONFS_TRY(check_not_cancelled(is_cancelled_));
        return falling > most ? WalkStep::kStop : WalkStep::kContinue;
      });
  if (!walked && walked.error().kind != ErrorKind::kCorrupt) {
    return Failure(walked.error());
  }
  return walked && falling <= most;
}

Result<Digest> LowerDigests::names_of(const InodeRecord& directory) const {
  const DirectoryRules rules = DirectoryRules::of(lower_);
  NamesSum names;
  Result<void> walked = walk_directory_blocks(
      lower_, directory,
      [&](FileBlock, BlockNumber block, ConstByteSpan bytes) -> Result<EntryStep> {
        UNIONFS_TRY(check_not_cancelled(is_cancelled_));
        const DirectoryPlace place{lower_.name(), directory.number(), block};
        UNIONFS_TRY(for_each_entry(bytes, rules, place,
                                   [&names](const EntryView& entry) -> Result<EntryStep> {
                                     if (entry.kind == EntryKind::kReal) {
                                       names.add(entry);
                                     }
                                     return EntryStep::kContinue;
                                   }));
        return EntryStep::kContinue;
      });
  LongHash hash;
  UNIONFS_TRY(mark_damage(std::move(walked), hash));
  hash.add(std::as_bytes(std::span(names.value())));
  return hash.value();
}

Result<LowerGroup> LowerDigests::of(GroupNumber group) const {
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  const Group& places = lower_.group(group);
  LongHash hash;
  UNIONFS_TRY(
      add_bitmap(lower_, places.block_bitmap, lower_.layout().blocks_of(group).count(), hash));
  UNIONFS_TRY(add_bitmap(lower_, places.inode_bitmap, lower_.layout().inodes_per_group, hash));
  return LowerGroup{group, hash.value()};
}

Result<LowerXattr> LowerDigests::of(BlockNumber xattr_block) const {
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  std::vector<std::byte> bytes(lower_.layout().block_size_bytes);
  UNIONFS_TRY(lower_.read_block(xattr_block, bytes));
  LongHash hash;
  hash.add(bytes);
  return LowerXattr{xattr_block, hash.value()};
}

Result<uint64_t> LowerDigests::cost_bytes(InodeNumber inode) const {
  UNIONFS_ASSIGN(const InodeRecord record, read_inode(lower_, inode));
  const uint64_t block_size = lower_.layout().block_size_bytes;
  if (!record.has_block_map()) {
    return block_size;
  }
  const uint64_t size = std::min(record.size_bytes(), uint64_t{record.raw().i_blocks} * 512);
  const uint64_t pointers = size / block_size * sizeof(Le32);
  const uint64_t content =
      record.is_directory()
          ? size
          : std::min(size, std::max<uint64_t>(FallingBlocks::kMaxWholeBytes,
                                              FallingBlocks::kSampledBlocks * block_size));
  return block_size + pointers + content;
}

}  // namespace unionfs
