// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/atlas.h"

#include <algorithm>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "fsparse/htree.h"
#include "tests/fuzz/support/invariant.h"

namespace unionfs::fuzzing {
namespace {

using upper_format::Header;
using upper_format::JournalHead;
using upper_format::JournalRun;
using upper_format::LayerTablesHead;

class Cartographer {
 public:
  explicit Cartographer(const Volume& volume) : volume_(volume), layout_(volume.layout()) {}

  ImageAtlas draw() {
    add(PlaceKind::kSuperblock, ext2::kSuperblockOffsetBytes, ext2::kSuperblockSizeBytes);
    for (uint32_t number = 0; number < layout_.group_count(); ++number) {
      add_group(GroupNumber(number));
    }
    for (uint32_t number = 1; number <= layout_.inode_count(); ++number) {
      const InodeRecord inode = wanted(read_inode(volume_, InodeNumber(number)));
      if (inode.raw().i_links_count != 0 || inode.raw().i_blocks != 0U) {
        add_inode(inode);
      }
    }
    add_extremes();
    return std::move(atlas_);
  }

 private:
  void add(PlaceKind kind, uint64_t offset, uint64_t length) {
    atlas_.places[static_cast<size_t>(kind)].push_back({offset, length});
  }
  void add_block(PlaceKind kind, BlockNumber block) {
    add(kind, layout_.offset_of(block), layout_.block_size_bytes);
  }

  void add_group(GroupNumber number) {
    const uint32_t per_block = layout_.descriptors_per_block();
    add(PlaceKind::kDescriptor,
        layout_.offset_of(layout_.primary_descriptor_block(number.value() / per_block)) +
            number.value() % per_block * sizeof(ext2::GroupDescriptor),
        sizeof(ext2::GroupDescriptor));
    add_block(PlaceKind::kBitmap, volume_.group(number).block_bitmap);
    add_block(PlaceKind::kBitmap, volume_.group(number).inode_bitmap);
  }

  void add_inode(const InodeRecord& inode) {
    const uint32_t index = inode.number().value() - 1;
    const Group& group = volume_.group(layout_.group_of(inode.number()));
    add(PlaceKind::kInode,
        layout_.offset_of(group.inode_table) +
            uint64_t{index % layout_.inodes_per_group} * layout_.inode_size_bytes,
        layout_.inode_size_bytes);
    atlas_.inodes.push_back(inode.number().value());
    if (inode.number().value() == ext2::kResizeInode) {
      return;
    }
    wanted(walk_block_map(volume_, inode, [&](BlockRole role, BlockNumber block) {
      atlas_.blocks.push_back(static_cast<uint32_t>(block.value()));
      if (role.level > 0) {
        add_block(PlaceKind::kPointers, block);
      } else if (inode.is_regular()) {
        add_block(PlaceKind::kFileData, block);
      }
      return Result<WalkStep>(WalkStep::kContinue);
    }));
    if (const auto xattrs = volume_.file_block(inode.file_acl())) {
      add_block(PlaceKind::kXattr, *xattrs);
      atlas_.blocks.push_back(static_cast<uint32_t>(xattrs->value()));
    }
    if (inode.is_directory()) {
      add_names(inode);
    }
  }

  void add_names(const InodeRecord& directory) {
    for (const NamedEntry& entry : wanted(read_directory(volume_, directory))) {
      add(PlaceKind::kEntry, layout_.offset_of(entry.block) + entry.offset,
          sizeof(ext2::DirectoryEntry) + entry.name.size());
    }
    if (directory.has_index()) {
      const auto root = wanted(map_block(volume_, directory, FileBlock(0)));
      add(PlaceKind::kIndex, layout_.offset_of(*root) + ext2::kIndexRootInfoOffset, 64);
      for (const FileBlock node : wanted(index_nodes(volume_, directory))) {
        const auto block = wanted(map_block(volume_, directory, node));
        add(PlaceKind::kIndex, layout_.offset_of(*block), 64);
      }
    }
  }

  void add_extremes() {
    const auto block_count = static_cast<uint32_t>(layout_.block_count);
    const auto inode_count = static_cast<uint32_t>(layout_.inode_count());
    atlas_.extremes = {0,
                       1,
                       2,
                       3,
                       7,
                       10,
                       11,
                       12,
                       13,
                       0x7f,
                       0x80,
                       0xff,
                       0x100,
                       0x7fff,
                       0x8000,
                       0xffff,
                       0x10000,
                       0x7fffffff,
                       0x80000000,
                       0xffffffff,
                       0xfffffffe,
                       0x40000000,
                       block_count,
                       block_count - 1,
                       block_count + 1,
                       inode_count,
                       inode_count + 1,
                       layout_.blocks_per_group,
                       layout_.inodes_per_group,
                       layout_.block_size_bytes,
                       layout_.block_size_bytes - 1,
                       layout_.block_size_bytes + 1};
  }

  const Volume& volume_;
  const Layout& layout_;
  ImageAtlas atlas_;
};

// The state area's part.
class StateCartographer {
 public:
  StateCartographer(const testing::MemoryFile& upper, ImageAtlas& atlas)
      : upper_(upper), atlas_(atlas) {}

  void draw() {
    const auto superblock = upper_.get<ext2::Superblock>(ext2::kSuperblockOffsetBytes);
    add(PlaceKind::kMark, ext2::kSuperblockOffsetBytes + offsetof(ext2::Superblock, s_jnl_blocks),
        sizeof(upper_format::Mark));
    const StateMark mark = wanted(required_mark_of(upper_.name(), superblock));
    const StateArea area = wanted(read_state_area(upper_, mark));
    for (uint32_t slot = 0; slot < upper_format::kHeaderSlots; ++slot) {
      add(PlaceKind::kHeader, area.offset + slot * upper_format::kPageBytes, sizeof(Header));
    }
    add(PlaceKind::kStamp, area.stamp_offset(), sizeof(upper_format::Stamp));
    // Of a whole page the first bits are those of the first blocks.
    add(PlaceKind::kSessionBitmap, area.durable_bitmap.offset, 256);
    add(PlaceKind::kSessionBitmap, area.live_bitmap.offset, 256);
    add_copies(area.fixed_blocks, area.block_size_bytes);
    add_copies(area.translated_blocks, area.block_size_bytes);
    add_tables(area.layer_tables);
    if (area.journal.length > 0) {
      add_journal(area.journal);
    }
  }

 private:
  void add(PlaceKind kind, uint64_t offset, uint64_t length) {
    atlas_.places[static_cast<size_t>(kind)].push_back({offset, length});
  }

  void add_copies(const FileRange& section, uint64_t block_size) {
    for (uint64_t offset = section.offset; offset < section.end(); offset += block_size) {
      if (upper_.is_allocated(offset)) {
        add(PlaceKind::kStateCopy, offset, block_size);
      }
    }
  }

  void add_tables(const FileRange& section) {
    const auto head = upper_.get<LayerTablesHead>(section.offset);
    add(PlaceKind::kTablesHead, section.offset, sizeof(head));
    const std::pair<uint32_t, uint64_t> arrays[] = {
        {head.translated_count, sizeof(upper_format::TranslatedBlock)},
        {head.kept_inode_count, sizeof(upper_format::KeptInode)},
        {head.kept_xattr_count, sizeof(upper_format::KeptXattr)},
        {head.group_counters_count, sizeof(upper_format::GroupCounters)},
        {head.block_whiteout_count, sizeof(upper_format::WhiteoutRun)},
        {head.inode_whiteout_count, sizeof(upper_format::WhiteoutRun)}};
    uint64_t offset = section.offset + sizeof(head);
    for (const auto& [count, size] : arrays) {
      for (uint32_t index = 0; index < count; ++index, offset += size) {
        add(PlaceKind::kTablesElement, offset, size);
      }
    }
  }

  void add_journal(const FileRange& journal) {
    const auto head = upper_.get<JournalHead>(journal.offset);
    add(PlaceKind::kJournalHead, journal.offset, sizeof(head));
    uint64_t offset = journal.offset + sizeof(head);
    for (uint32_t index = 0; index < head.punch_count + head.run_count; ++index) {
      const auto run = upper_.get<JournalRun>(offset);
      add(PlaceKind::kJournalRun, offset, sizeof(run));
      offset += sizeof(run);
      if (index >= head.punch_count) {
        add(PlaceKind::kJournalData, offset, run.length);
        offset += run.length;
      }
    }
  }

  const testing::MemoryFile& upper_;
  ImageAtlas& atlas_;
};

}  // namespace

ImageAtlas atlas_of(const Image& image, SuperblockUse use) {
  const Volume volume = wanted(Volume::open(image, use));
  return Cartographer(volume).draw();
}

ImageAtlas atlas_of_upper(const testing::MemoryFile& upper) {
  ImageAtlas atlas = atlas_of(upper, SuperblockUse::kUpper);
  StateCartographer(upper, atlas).draw();
  return atlas;
}

}  // namespace unionfs::fuzzing
