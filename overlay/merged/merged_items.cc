// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/merged_items.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "fsparse/bitmap.h"
#include "overlay/merged/directory_names.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs {
namespace {

// merged = (below and not whited out) or own, in place over the bits of below.
void merge_bits(ByteSpan bits, ConstByteSpan whited_out, ConstByteSpan own) {
  for (size_t i = 0; i < whited_out.size() && i < bits.size(); ++i) {
    bits[i] &= ~whited_out[i];
  }
  for (size_t i = 0; i < own.size() && i < bits.size(); ++i) {
    bits[i] |= own[i];
  }
}

bool is_regular(const ext2::Inode& raw) {
  return (raw.i_mode & ext2::kModeTypeMask) == ext2::kModeRegular;
}

// A name of a layer's own directory: real, or the one that it falls through to.
class LayerNames final : public NamesBelow {
 public:
  LayerNames(const Below& below, DirectoryNames own, InodeNumber directory, BlockNumber block,
             FileBlock file_block)
      : below_(below),
        own_(std::move(own)),
        directory_(directory),
        block_(block),
        file_block_(file_block) {}

  Result<std::optional<NameBelow>> find(const EntryView& wanted) override {
    UNIONFS_ASSIGN(const auto found, own_.find(wanted));
    if (!found || found->kind == EntryKind::kWhiteout) {
      return std::optional<NameBelow>();
    }
    if (found->kind == EntryKind::kReal) {
      return std::optional<NameBelow>(NameBelow{found->inode, found->file_type});
    }
    if (names_below_ == nullptr) {
      UNIONFS_ASSIGN(names_below_, below_.names_of(directory_, block_, file_block_));
    }
    return names_below_->find(wanted);
  }

 private:
  const Below& below_;
  DirectoryNames own_;
  InodeNumber directory_;
  BlockNumber block_;
  FileBlock file_block_;
  std::unique_ptr<NamesBelow> names_below_;
};

// What a whited-out directory names.
class NoNames final : public NamesBelow {
 public:
  Result<std::optional<NameBelow>> find(const EntryView&) override {
    return std::optional<NameBelow>();
  }
};

}  // namespace

bool MergedItems::is_own(InodeNumber inode) const {
  const Layout& merged = geometry_.merged();
  return layer_.own_inodes().test(merged.group_of(inode),
                                  (inode.value() - 1) % merged.inodes_per_group);
}

bool MergedItems::is_whited_out(InodeNumber inode) const {
  const Layout& merged = geometry_.merged();
  return layer_.inode_whiteouts().test(merged.group_of(inode),
                                       (inode.value() - 1) % merged.inodes_per_group);
}

bool MergedItems::is_whited_out(BlockNumber block) const {
  const GroupNumber group = geometry_.merged().group_of(block);
  const uint64_t bit = block - geometry_.merged().blocks_of(group).begin;
  return layer_.block_whiteouts().test(group, static_cast<uint32_t>(bit));
}

// ---- bitmaps -------------------------------------------------------------------

Result<void> MergedItems::used_blocks(GroupNumber group, ByteSpan out) const {
  const BlockRange blocks = geometry_.merged().blocks_of(group);
  uint64_t used_below = 0;
  if (geometry_.is_appended(group)) {
    std::fill(out.begin(), out.end(), std::byte{0});
  } else {
    UNIONFS_TRY(below_.used_blocks(group, out));
    // The padding behind a partial last group does not mean used.
    used_below = below_.layout().blocks_of(group).count();
  }
  clear_bits(out, used_below, out.size() * 8);
  merge_bits(out, layer_.block_whiteouts().of(group), layer_.own_blocks().of(group));
  set_fixed_bits(geometry_, group, out);
  set_bits(out, blocks.count(), out.size() * 8);
  return {};
}

Result<void> MergedItems::used_inodes(GroupNumber group, ByteSpan out) const {
  if (geometry_.is_appended(group)) {
    std::fill(out.begin(), out.end(), std::byte{0});
  } else {
    UNIONFS_TRY(below_.used_inodes(group, out));
  }
  merge_bits(out, layer_.inode_whiteouts().of(group), layer_.own_inodes().of(group));
  // Reserved inodes are always used, whatever became of them.
  set_bits(out, 0, geometry_.reserved_inodes_in(group));
  set_bits(out, geometry_.merged().inodes_per_group, out.size() * 8);
  return {};
}

// ---- inodes --------------------------------------------------------------------

Result<InodeRecord> MergedItems::below_or_empty(InodeNumber inode) const {
  if (inode.value() <= geometry_.lower().inode_count()) {
    return below_.inode_at(inode);
  }
  const std::vector<std::byte> zeros(geometry_.merged().inode_size_bytes);
  return InodeRecord(inode, zeros, geometry_.merged().block_size_bytes);
}

Result<InodeRecord> MergedItems::inode_at(InodeNumber inode) const {
  if (!is_own(inode) && is_whited_out(inode)) {
    const std::vector<std::byte> zeros(geometry_.merged().inode_size_bytes);
    return InodeRecord(inode, zeros, geometry_.merged().block_size_bytes);
  }
  UNIONFS_ASSIGN(InodeRecord record, below_or_empty(inode));
  UNIONFS_TRY(own_inodes(inode, record.bytes()));
  return record;
}

Result<void> MergedItems::own_inodes(InodeNumber first, ByteSpan slots) const {
  const size_t slot_bytes = geometry_.merged().inode_size_bytes;
  std::vector<std::byte> own;
  for (size_t offset = 0; offset < slots.size(); offset += slot_bytes) {
    const InodeNumber inode(first.value() + static_cast<uint32_t>(offset / slot_bytes));
    const ByteSpan slot = slots.subspan(offset, slot_bytes);
    if (is_own(inode)) {
      if (own.empty()) {
        own.resize(slots.size());
        UNIONFS_TRY(
            upper_.image().read(inode_offset(geometry_.merged(), upper_.groups(), first), own));
      }
      UNIONFS_TRY(merge_own(inode, ByteSpan(own).subspan(offset, slot_bytes), slot));
    } else if (is_whited_out(inode)) {
      std::fill(slot.begin(), slot.end(), std::byte{0});
    }
  }
  return {};
}

// `slot` holds what the level below has for that number, and then the merged record.
Result<void> MergedItems::merge_own(InodeNumber inode, ConstByteSpan own, ByteSpan slot) const {
  ext2::Inode below;
  std::memcpy(&below, slot.data(), sizeof(below));
  std::copy(own.begin(), own.end(), slot.begin());
  ext2::Inode raw;
  std::memcpy(&raw, slot.data(), sizeof(raw));
  if ((raw.i_mode & ext2::kModeTypeMask) == ext2::kModeDirectory) {
    raw.i_flags = raw.i_flags & ~ext2::kFlagOpaque;
  }
  if (const KeptInode* kept = layer_.kept_inode(inode)) {
    raw.i_links_count = static_cast<uint16_t>(kept->links_count);
    raw.i_blocks = kept->block_sectors;
  }
  if (is_regular(raw) && is_regular(below) && !is_whited_out(inode)) {
    std::array<ClaimedBlock, ext2::kBlockSlots> pointers;
    for (uint32_t i = 0; i < pointers.size(); ++i) {
      pointers[i] = ClaimedBlock(below.i_block[i]);
    }
    UNIONFS_TRY(fill_holes(raw.i_block, pointers));
  }
  std::memcpy(slot.data(), &raw, sizeof(raw));
  return {};
}

// What the layer's file does not own shows from below, unless the block below is
// whited out: then the hole is a hole.
Result<void> MergedItems::fill_holes(std::span<Le32> pointers,
                                     std::span<const ClaimedBlock> below) const {
  for (size_t i = 0; i < pointers.size(); ++i) {
    if (pointers[i] != 0 || below[i].is_none()) {
      continue;
    }
    const std::optional<BlockNumber> block = below_.volume().file_block(below[i]);
    if (!block) {
      return corrupt("{}: a block pointer {} is outside the image ({} blocks)", below_.name(),
                     below[i], below_.layout().block_count);
    }
    if (!is_whited_out(*block)) {
      pointers[i] = below[i].value();
    }
  }
  return {};
}

// ---- pointers ------------------------------------------------------------------

// Whether blocks of an own inode may fall through, as far as this level can tell.
Result<bool> MergedItems::may_fall_through(InodeNumber inode) const {
  if (inode.value() > geometry_.lower().inode_count() || is_whited_out(inode)) {
    return false;
  }
  ext2::Inode own;
  const uint64_t offset = inode_offset(geometry_.merged(), upper_.groups(), inode);
  UNIONFS_TRY(upper_.image().read(offset, std::as_writable_bytes(std::span(&own, 1))));
  return is_regular(own);
}

// Of a regular file they are filled up like its inode; of any other type all that they
// lead to is own.
Result<void> MergedItems::fill_own_pointers(const TranslatedBlock& entry, ByteSpan block) const {
  if (entry.level == 0) {
    return corrupt("{}: state area: translated block {} is an indirect block of level 0",
                   upper_.name(), entry.block);
  }
  UNIONFS_ASSIGN(const bool may_fall, may_fall_through(entry.inode));
  if (!may_fall) {
    return {};
  }
  const BlockRole role{entry.level, FileBlock(entry.file_block)};
  UNIONFS_ASSIGN(const auto below, below_.pointers_at(entry.inode, role));
  if (!below) {
    return {};
  }
  return fill_holes({reinterpret_cast<Le32*>(block.data()), below->pointers.size()},
                    below->pointers);
}

const TranslatedBlock* MergedItems::own_indirect(InodeNumber inode, BlockRole role) const {
  const std::vector<TranslatedBlock>& table = layer_.tables().translated;
  const auto key = [](const TranslatedBlock& entry) {
    return std::tuple(entry.inode.value(), entry.level, entry.file_block);
  };
  std::call_once(has_indirects_, [&] {
    for (uint32_t index = 0; index < table.size(); ++index) {
      if (table[index].kind == TranslatedKind::kIndirect) {
        indirects_.push_back(index);
      }
    }
    std::sort(indirects_.begin(), indirects_.end(),
              [&](uint32_t a, uint32_t b) { return key(table[a]) < key(table[b]); });
  });
  const std::tuple<uint32_t, uint8_t, uint32_t> wanted{
      inode.value(), static_cast<uint8_t>(role.level), static_cast<uint32_t>(role.first.value())};
  const auto found = std::lower_bound(
      indirects_.begin(), indirects_.end(), wanted,
      [&](uint32_t index, const auto& value) { return key(table[index]) < value; });
  return found != indirects_.end() && key(table[*found]) == wanted ? &table[*found] : nullptr;
}

// The block that the level below has in that role, unless it is gone here.  Where the file
// ends earlier here, or has a hole there, the block was freed, and is whited out.
Result<std::optional<PointerBlock>> MergedItems::falling_pointers(InodeNumber inode,
                                                                  BlockRole role) const {
  if (inode.value() > geometry_.lower().inode_count()) {
    return std::optional<PointerBlock>();
  }
  UNIONFS_ASSIGN(auto below, below_.pointers_at(inode, role));
  if (!below || is_whited_out(below->block)) {
    return std::optional<PointerBlock>();
  }
  return below;
}

Result<std::optional<PointerBlock>> MergedItems::pointers_at(InodeNumber inode,
                                                             BlockRole role) const {
  if (!is_own(inode)) {
    return is_whited_out(inode) ? std::optional<PointerBlock>() : falling_pointers(inode, role);
  }
  const TranslatedBlock* own = own_indirect(inode, role);
  if (own == nullptr) {
    UNIONFS_ASSIGN(const bool may_fall, may_fall_through(inode));
    return may_fall ? falling_pointers(inode, role) : std::optional<PointerBlock>();
  }
  std::vector<std::byte> bytes(geometry_.merged().block_size_bytes);
  UNIONFS_TRY(upper_.read_block(own->block, bytes));
  UNIONFS_TRY(fill_own_pointers(*own, bytes));
  PointerBlock block{own->block, std::vector<ClaimedBlock>(bytes.size() / sizeof(Le32))};
  for (size_t i = 0; i < block.pointers.size(); ++i) {
    Le32 pointer;
    std::memcpy(&pointer, bytes.data() + i * sizeof(pointer), sizeof(pointer));
    block.pointers[i] = ClaimedBlock(pointer);
  }
  return std::optional<PointerBlock>(std::move(block));
}

// ---- names ---------------------------------------------------------------------

Result<std::unique_ptr<NamesBelow>> MergedItems::names_of(InodeNumber directory, BlockNumber block,
                                                          FileBlock file_block) const {
  if (is_own(directory)) {
    UNIONFS_ASSIGN(DirectoryNames own,
                   DirectoryNames::open(own_names_, directory, block, file_block));
    return std::unique_ptr<NamesBelow>(
        std::make_unique<LayerNames>(below_, std::move(own), directory, block, file_block));
  }
  if (is_whited_out(directory) || directory.value() > geometry_.lower().inode_count()) {
    return std::unique_ptr<NamesBelow>(std::make_unique<NoNames>());
  }
  return below_.names_of(directory, block, file_block);
}

}  // namespace unionfs
