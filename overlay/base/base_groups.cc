// SPDX-License-Identifier: BSD-3-Clause
//
// The part of a base that says what of it is used.
#include <algorithm>
#include <cstring>

#include "fsparse/bitmap.h"
#include "overlay/base/base_writer.h"

namespace unionfs {
namespace {

constexpr uint64_t kReservedPercent = 5;  // for root, as mke2fs does

// The blocks of files in the image: ascending, apart, none over the end of a group.
std::vector<BlockRange> used_ranges(const BasePlan& plan, const BaseLayout& layout) {
  std::vector<BlockRange> ranges;
  for (const DataRange& used : plan.used) {
    layout.for_each_range(used.begin, used.end(),
                          [&](BlockRange range) { ranges.push_back(range); });
  }
  return ranges;
}

InodeRange inodes_of(const Layout& shape, GroupNumber group) {
  const InodeNumber first(group.value() * shape.inodes_per_group + 1);
  return {first, first + shape.inodes_per_group};
}

// Empty, and inside of `two`, if there is none.
InodeRange common_part(const InodeRange& one, const InodeRange& two) {
  return {std::clamp(one.begin, two.begin, two.end), std::clamp(one.end, two.begin, two.end)};
}

// The groups with their counters.
std::vector<Group> counted_groups(const BasePlan& plan, const BaseLayout& layout) {
  const Layout& shape = layout.layout();
  std::vector<Group> groups = layout.groups();
  for (const BlockRange& range : used_ranges(plan, layout)) {
    groups[shape.group_of(range.begin).value()].free_blocks_count -=
        static_cast<uint32_t>(range.count());
  }
  for (size_t id = 0; id < plan.inodes.size(); ++id) {
    const InodeNumber number = plan.inodes[id].number;
    if (number.value() != 0 &&
        plan.ready.tree.file(static_cast<TreeFileId>(id)).state.is_directory()) {
      ++groups[shape.group_of(number).value()].used_dirs_count;
    }
  }
  for (uint32_t index = 0; index < groups.size(); ++index) {
    const InodeRange all = inodes_of(shape, GroupNumber(index));
    for (const InodeRange& used : plan.used_inodes) {
      groups[index].free_inodes_count -= common_part(used, all).count();
    }
  }
  return groups;
}

class GroupWriter {
 public:
  GroupWriter(const BasePlan& plan, const BaseLayout& layout, const BaseOptions& options,
              WritableFile& out)
      : layout_(layout),
        shape_(layout.layout()),
        used_(used_ranges(plan, layout)),
        groups_(counted_groups(plan, layout)),
        superblock_(make_superblock(plan, layout, options)),
        used_inodes_(plan.used_inodes),
        out_(out) {}

  Result<void> run() {
    make_descriptors();
    auto range = used_.begin();
    for (uint32_t index = 0; index < shape_.group_count(); ++index) {
      const GroupNumber number(index);
      if (shape_.has_superblock(number)) {
        UNIONFS_TRY(write_head(number));
      }
      UNIONFS_TRY(write_block_bitmap(number, range));
      UNIONFS_TRY(write_inode_bitmap(number));
    }
    return {};
  }

 private:
  void make_descriptors() {
    descriptors_.resize(uint64_t{shape_.descriptor_block_count()} * shape_.block_size_bytes);
    for (size_t index = 0; index < groups_.size(); ++index) {
      const ext2::GroupDescriptor raw = raw_descriptor(groups_[index]);
      std::memcpy(descriptors_.data() + index * sizeof(raw), &raw, sizeof(raw));
    }
  }

  Result<void> write_head(GroupNumber number) {
    const BlockNumber first = shape_.blocks_of(number).begin;
    ext2::Superblock copy = superblock_;
    copy.s_block_group_nr = static_cast<uint16_t>(number.value());
    const uint64_t offset =
        number.value() == 0 ? uint64_t{ext2::kSuperblockOffsetBytes} : shape_.offset_of(first);
    UNIONFS_TRY(out_.write(offset, std::as_bytes(std::span(&copy, 1))));
    return out_.write(shape_.offset_of(first + 1), descriptors_);
  }

  Result<void> write_block_bitmap(GroupNumber number,
                                  std::vector<BlockRange>::const_iterator& range) {
    const BlockRange blocks = shape_.blocks_of(number);
    std::vector<std::byte> bits(shape_.block_size_bytes);
    set_bits(bits, 0, layout_.metadata_block_count(number));
    for (; range != used_.end() && range->begin < blocks.end; ++range) {
      set_bits(bits, range->begin - blocks.begin, range->end - blocks.begin);
    }
    set_bits(bits, blocks.count(), bits.size() * ext2::kBitsPerByte);  // behind the end
    return out_.write(shape_.offset_of(groups_[number.value()].block_bitmap), bits);
  }

  Result<void> write_inode_bitmap(GroupNumber number) {
    const InodeRange all = inodes_of(shape_, number);
    std::vector<std::byte> bits(shape_.block_size_bytes);
    for (const InodeRange& used : used_inodes_) {
      const InodeRange here = common_part(used, all);
      set_bits(bits, here.begin - all.begin, here.end - all.begin);
    }
    set_bits(bits, shape_.inodes_per_group, bits.size() * ext2::kBitsPerByte);
    return out_.write(shape_.offset_of(groups_[number.value()].inode_bitmap), bits);
  }

  const BaseLayout& layout_;
  const Layout& shape_;
  const std::vector<BlockRange> used_;
  const std::vector<Group> groups_;
  const ext2::Superblock superblock_;
  const std::vector<InodeRange>& used_inodes_;
  std::vector<std::byte> descriptors_;
  WritableFile& out_;
};

}  // namespace

ext2::Superblock make_superblock(const BasePlan& plan, const BaseLayout& layout,
                                 const BaseOptions& options) {
  const Layout& shape = layout.layout();
  const auto time = static_cast<uint32_t>(plan.ready.epoch.seconds);
  ext2::Superblock superblock = constant_superblock(options);
  superblock.s_inodes_count = static_cast<uint32_t>(shape.inode_count());
  superblock.s_blocks_count = static_cast<uint32_t>(shape.block_count);
  superblock.s_r_blocks_count = static_cast<uint32_t>(shape.block_count * kReservedPercent / 100);
  for (const Group& group : counted_groups(plan, layout)) {
    superblock.s_free_blocks_count = superblock.s_free_blocks_count + group.free_blocks_count;
    superblock.s_free_inodes_count = superblock.s_free_inodes_count + group.free_inodes_count;
  }
  superblock.s_first_data_block = shape.first_data_block;
  superblock.s_blocks_per_group = shape.blocks_per_group;
  superblock.s_frags_per_group = shape.blocks_per_group;
  superblock.s_inodes_per_group = shape.inodes_per_group;
  superblock.s_wtime = time;
  superblock.s_lastcheck = time;
  superblock.s_mkfs_time = time;
  superblock.s_uuid = options.uuid.value_or(plan.uuid);
  return superblock;
}

Result<void> write_groups(const BasePlan& plan, const BaseLayout& layout,
                          const BaseOptions& options, WritableFile& out) {
  return GroupWriter(plan, layout, options, out).run();
}

}  // namespace unionfs
