// SPDX-License-Identifier: BSD-3-Clause
//
// Growing in steps is growing at once: levels of a chain that grew one after the other have the
// places that one level of the last size has.
#include <catch2/catch.hpp>

#include "overlay/geometry/geometry.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/synthetic_lower.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

template <typename T>
void put_at(SparseImage& image, uint64_t offset, const T& value) {
  image.write(offset, std::as_bytes(std::span(&value, 1)));
}

// The merged image of an untouched upper, as far as a geometry is made from it.
SparseImage image_of(const Volume& lower, const Geometry& geometry) {
  const Layout& layout = geometry.merged();
  SparseImage image("grown.img", layout.size_bytes());
  ext2::Superblock raw = lower.superblock().raw();
  raw.s_blocks_count = static_cast<uint32_t>(layout.block_count);
  raw.s_inodes_count = static_cast<uint32_t>(layout.inode_count());
  raw.s_reserved_gdt_blocks = static_cast<uint16_t>(layout.reserved_gdt_blocks);
  raw.s_first_meta_bg = layout.has_meta_groups ? layout.first_meta_group : 0;
  raw.s_backup_bgs = {layout.backup_groups[0], layout.backup_groups[1]};
  raw.s_feature_incompat =
      raw.s_feature_incompat | (layout.has_meta_groups ? ext2::kIncompatMetaBg : 0);
  if (layout.reserved_gdt_blocks == 0) {
    raw.s_feature_compat = raw.s_feature_compat & ~ext2::kCompatResizeInode;
  } else {
    // The resize inode is still the lower's.
    std::vector<std::byte> table(layout.block_size_bytes);
    const BlockNumber block =
        lower.group(GroupNumber(0)).inode_table +
        (ext2::kResizeInode - 1) * layout.inode_size_bytes / layout.block_size_bytes;
    expect_success(lower.read_block(block, table));
    image.write(layout.offset_of(block), table);
  }
  put_at(image, ext2::kSuperblockOffsetBytes, raw);
  const uint32_t per_block = layout.descriptors_per_block();
  for (uint32_t number = 0; number < layout.group_count(); ++number) {
    const Group& group = geometry.groups()[number];
    ext2::GroupDescriptor descriptor = {};
    descriptor.bg_block_bitmap = static_cast<uint32_t>(group.block_bitmap.value());
    descriptor.bg_inode_bitmap = static_cast<uint32_t>(group.inode_bitmap.value());
    descriptor.bg_inode_table = static_cast<uint32_t>(group.inode_table.value());
    descriptor.bg_free_blocks_count = static_cast<uint16_t>(group.free_blocks_count);
    descriptor.bg_free_inodes_count = static_cast<uint16_t>(group.free_inodes_count);
    descriptor.bg_used_dirs_count = static_cast<uint16_t>(group.used_dirs_count);
    put_at(image,
           layout.offset_of(layout.primary_descriptor_block(number / per_block)) +
               number % per_block * sizeof(descriptor),
           descriptor);
  }
  return image;
}

bool is_same(const Group& one, const Group& other) {
  return one.block_bitmap == other.block_bitmap && one.inode_bitmap == other.inode_bitmap &&
         one.inode_table == other.inode_table && one.free_blocks_count == other.free_blocks_count &&
         one.free_inodes_count == other.free_inodes_count &&
         one.used_dirs_count == other.used_dirs_count;
}

bool is_same(const FixedRange& one, const FixedRange& other) {
  return one.blocks == other.blocks && one.first_rank == other.first_rank &&
         one.group == other.group && one.first_index == other.first_index && one.kind == other.kind;
}

// The first difference; empty if there is none.
std::string difference_of(const Geometry& once, const Geometry& twice) {
  if (once.merged() != twice.merged()) {
    return "the layouts differ";
  }
  for (uint32_t number = 0; number < once.merged().group_count(); ++number) {
    if (!is_same(once.groups()[number], twice.groups()[number])) {
      return fmt::format("group {} differs", number);
    }
  }
  if (once.fixed_ranges().size() != twice.fixed_ranges().size()) {
    return "there are other numbers of fixed ranges";
  }
  for (size_t i = 0; i < once.fixed_ranges().size(); ++i) {
    if (!is_same(once.fixed_ranges()[i], twice.fixed_ranges()[i])) {
      return fmt::format("the fixed range at {} differs", once.fixed_ranges()[i].blocks.begin);
    }
  }
  return "";
}

std::vector<SyntheticShape> shapes_of(SyntheticShape shape) {
  std::vector<SyntheticShape> shapes = {shape};
  shape.has_sparse_super = true;
  shapes.push_back(shape);
  shape.reserved_gdt_blocks = 4;
  shapes.push_back(shape);
  shape.reserved_gdt_blocks = 0;
  shape.has_meta_groups = true;
  shapes.push_back(shape);
  shape.first_meta_group = 1;
  shapes.push_back(shape);
  return shapes;
}

// How many pairs of steps could be compared.
uint64_t check_steps(const SyntheticShape& shape) {
  const SparseImage lower_image = make_synthetic_lower(shape);
  const auto lower = Volume::open(lower_image, SuperblockUse::kLower);
  if (!lower) {
    return 0;  // tables that do not fit the last group
  }
  const uint64_t group = shape.blocks_per_group;
  const std::vector<uint64_t> steps = {
      0, 1, 49, group - 1, group + 1, group + 90, 3 * group + 70, 40 * group + 5, 129 * group};
  uint64_t count = 0;
  for (size_t first = 0; first < steps.size(); ++first) {
    const auto grown =
        Geometry::grow(*lower, (shape.block_count + steps[first]) * shape.block_size_bytes);
    if (!grown) {
      continue;
    }
    const SparseImage image = image_of(*lower, *grown);
    const Volume middle = value_of(Volume::open(image, SuperblockUse::kLower));
    for (size_t second = first; second < steps.size(); ++second) {
      const uint64_t size = (shape.block_count + steps[second]) * shape.block_size_bytes;
      const auto once = Geometry::grow(*lower, size);
      INFO(shape.text() << ", by " << steps[first] << " and then " << steps[second]);
      if (size < grown->size_bytes() || !once) {
        continue;
      }
      const Geometry twice = value_of(Geometry::grow(middle, size));
      if (const std::string different = difference_of(*once, twice); !different.empty()) {
        FAIL_CHECK(different);
      }
      // The first step that appends a group releases the resize inode's blocks.
      CHECK((grown->has_appended_groups() ? twice.released().empty()
                                          : twice.released() == once->released()));
      ++count;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("Growing in steps is growing at once", "[geometry]") {
  uint64_t compared = 0;
  for (const uint32_t block_size : {1024U, 4096U}) {
    for (const uint32_t blocks_per_group : {256U, block_size * 8}) {
      for (const uint32_t inodes_per_group : {16U, 200U}) {
        for (const auto& [groups, rest] :
             {std::pair<uint64_t, uint64_t>{1, 0}, std::pair<uint64_t, uint64_t>{2, 130},
              std::pair<uint64_t, uint64_t>{33, 0}, std::pair<uint64_t, uint64_t>{70, 255}}) {
          SyntheticShape shape;
          shape.block_size_bytes = block_size;
          shape.blocks_per_group = blocks_per_group;
          shape.inodes_per_group = inodes_per_group;
          shape.block_count = groups * blocks_per_group + rest + (block_size == 1024 ? 1 : 0);
          for (const SyntheticShape& variant : shapes_of(shape)) {
            compared += check_steps(variant);
          }
        }
      }
    }
  }
  CHECK(compared > 3000);
}
