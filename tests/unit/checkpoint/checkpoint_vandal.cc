// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/checkpoint/checkpoint_vandal.h"

#include <algorithm>

#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "tests/unit/support/expect.h"

namespace unionfs::testing {
namespace {

constexpr uint32_t kBlock = 1024;

}  // namespace

Vandal::Vandal(std::vector<std::byte> image, uint64_t seed)
    : image_("image", std::move(image)), random_(seed) {
  const Volume volume = value_of(Volume::open(image_, SuperblockUse::kLower));
  layout_ = volume.layout();
  groups_ = volume.groups();
  for (uint32_t number = 1; number <= layout_.inode_count(); ++number) {
    const InodeRecord record = value_of(read_inode(volume, InodeNumber(number)));
    if (record.raw().i_links_count.value() == 0) {
      continue;
    }
    used_.push_back(number);
    if (record.is_directory()) {
      directories_.push_back(number);
      for (const NamedEntry& entry : value_of(read_directory(volume, record))) {
        entries_.push_back(layout_.offset_of(entry.block) + entry.offset);
      }
    }
    expect_success(walk_block_map(volume, record, [&](BlockRole role, BlockNumber block) {
      blocks_.push_back(block.value());
      if (role.level > 0) {
        indirect_.push_back(block.value());
      }
      if (record.is_directory()) {
        names_.push_back(block.value());
      }
      return Result<WalkStep>(WalkStep::kContinue);
    }));
    if (record.file_acl().value() != 0) {
      xattrs_.push_back(record.file_acl().value());
    }
  }
}

std::string Vandal::damage() {
  switch (random_() % 12) {
    case 0:
      return inode_field();
    case 1:
      return inode_pointer();
    case 2:
      return inode_copied();
    case 3:
      return directory_entry();
    case 4:
      return garbage("names", pick(names_));
    case 5:
      return garbage("inode table", any_table_block());
    case 6:
      return bitmap_bits();
    case 7:
      return indirect_pointer();
    case 8:
      return xattr_bytes();
    case 9:
      return descriptor_or_superblock();
    case 10:
      return directory_loop();
    default:
      return garbage("a file's block", pick(blocks_));
  }
}

std::vector<std::byte> Vandal::bytes() {
  const ByteSpan all = image_.bytes(0, image_.size_bytes());
  return {all.begin(), all.end()};
}

uint32_t Vandal::extreme() {
  const uint32_t values[] = {0,
                             1,
                             2,
                             0x7fffffff,
                             0x80000000,
                             0xffffffff,
                             static_cast<uint32_t>(layout_.block_count),
                             static_cast<uint32_t>(layout_.block_count) - 1,
                             inode_count(),
                             inode_count() + 1,
                             static_cast<uint32_t>(pick(blocks_)),
                             pick(used_),
                             static_cast<uint32_t>(random_())};
  return values[random_() % std::size(values)];
}

uint32_t Vandal::some_block() {
  return random_() % 3 == 0 ? extreme() : static_cast<uint32_t>(pick(blocks_));
}

uint64_t Vandal::inode_place(uint32_t number) {
  return inode_offset(layout_, groups_, InodeNumber(number));
}

uint64_t Vandal::any_table_block() {
  return inode_place(random_() % 2 == 0 ? pick(used_)
                                        : 1 + static_cast<uint32_t>(random_()) % inode_count()) /
         kBlock;
}

void Vandal::scramble(uint64_t offset, uint64_t length) {
  for (std::byte& byte : image_.bytes(offset, length)) {
    byte = static_cast<std::byte>(random_());
  }
}

std::string Vandal::garbage(const char* what, uint64_t block) {
  const uint64_t length = random_() % 2 == 0 ? kBlock : 1 + random_() % 64;
  const uint64_t skip = random_() % (kBlock - length + 1);
  scramble(block * kBlock + skip, length);
  return fmt::format("{} bytes of garbage at {} of block {} ({})", length, skip, block, what);
}

std::string Vandal::inode_field() {
  const uint32_t number = pick(used_);
  // Any of the words of the first 128 bytes.
  const uint64_t at = random_() % 32 * 4;
  const uint32_t value = extreme();
  image_.edit<Le32>(inode_place(number) + at) = value;
  return fmt::format("inode {}: word at {:#x} is {:#x}", number, at, value);
}

std::string Vandal::inode_pointer() {
  const uint32_t number = pick(used_);
  const uint32_t slot = static_cast<uint32_t>(random_() % ext2::kBlockSlots);
  const uint32_t value = some_block();
  inode(number).i_block[slot] = value;
  return fmt::format("inode {}: i_block[{}] is {}", number, slot, value);
}

std::string Vandal::inode_copied() {
  const uint32_t from = pick(used_);
  const uint32_t to = random_() % 2 == 0 ? pick(used_) : extreme() % inode_count() + 1;
  const ext2::Inode copy = inode(from);
  inode(to) = copy;
  return fmt::format("inode {} is a copy of inode {}", to, from);
}

std::string Vandal::directory_entry() {
  const uint64_t place = pick(entries_);
  auto& entry = image_.edit<ext2::DirectoryEntry>(place);
  switch (random_() % 5) {
    case 0:
      entry.inode = random_() % 2 == 0 ? pick(used_) : extreme();
      break;
    case 1:
      entry.rec_len = static_cast<uint16_t>(random_() % 2 == 0 ? extreme() : random_() % 64 * 4);
      break;
    case 2:
      entry.name_len = static_cast<uint8_t>(random_());
      break;
    case 3:
      entry.file_type = static_cast<uint8_t>(random_() % 12);
      break;
    default:
      entry.inode = 0U;
      entry.file_type = static_cast<uint8_t>(8 + random_() % 2);
      break;
  }
  return fmt::format("entry at {} of block {}: inode {}, rec_len {}, name_len {}, type {}",
                     place % kBlock, place / kBlock, entry.inode.value(), entry.rec_len.value(),
                     entry.name_len, entry.file_type);
}

std::string Vandal::bitmap_bits() {
  const uint32_t group = static_cast<uint32_t>(random_() % groups_.size());
  const bool is_blocks = random_() % 2 == 0;
  const uint64_t place =
      (is_blocks ? groups_[group].block_bitmap : groups_[group].inode_bitmap).value() * kBlock;
  const uint32_t bits = is_blocks ? layout_.blocks_per_group : layout_.inodes_per_group;
  const uint64_t first = random_() % bits;
  const uint64_t count = std::min<uint64_t>(bits - first, 1 + random_() % 20);
  for (uint64_t bit = first; bit < first + count; ++bit) {
    image_.edit<uint8_t>(place + bit / 8) =
        static_cast<uint8_t>(image_.edit<uint8_t>(place + bit / 8) ^ (1U << bit % 8));
  }
  return fmt::format("{} bitmap of group {}: {} bits at {} turned", is_blocks ? "block" : "inode",
                     group, count, first);
}

std::string Vandal::indirect_pointer() {
  const uint64_t block = pick(indirect_);
  const uint64_t index = random_() % (kBlock / 4);
  const uint32_t value = some_block();
  image_.edit<Le32>(block * kBlock + index * 4) = value;
  return fmt::format("indirect block {}: pointer {} is {}", block, index, value);
}

std::string Vandal::xattr_bytes() {
  const uint64_t block = pick(xattrs_);
  const uint64_t at = random_() % 64 / 4 * 4;
  const uint32_t value = extreme();
  image_.edit<Le32>(block * kBlock + at) = value;
  return fmt::format("xattr block {}: word at {} is {:#x}", block, at, value);
}

std::string Vandal::descriptor_or_superblock() {
  if (random_() % 2 == 0) {
    const uint64_t at = random_() % (groups_.size() * 32) / 2 * 2;
    const uint64_t table = layout_.offset_of(layout_.primary_descriptor_block(0));
    const auto value = static_cast<uint16_t>(extreme());
    image_.edit<Le16>(table + at) = value;
    return fmt::format("descriptors: half word at {} is {:#x}", at, value);
  }
  // Any word but the one with magic and state.
  uint64_t at = random_() % (ext2::kSuperblockSizeBytes / 4) * 4;
  at = random_() % 2 == 0 ? at % 0x100 : at;
  if (at != offsetof(ext2::Superblock, s_magic)) {
    image_.edit<Le32>(ext2::kSuperblockOffsetBytes + at) = extreme();
  }
  return fmt::format("superblock: word at {:#x}", at);
}

std::string Vandal::directory_loop() {
  const uint32_t first = pick(directories_);
  const uint32_t second = pick(directories_);
  for (const uint64_t place : entries_) {
    auto& entry = image_.edit<ext2::DirectoryEntry>(place);
    const uint32_t target = entry.inode.value();
    if (target == first || target == second) {
      entry.inode = target == first ? second : first;
    }
  }
  return fmt::format("directories {} and {} swapped wherever they are named", first, second);
}

}  // namespace unionfs::testing
