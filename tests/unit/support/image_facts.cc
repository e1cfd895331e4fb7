// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/image_facts.h"

#include <xxhash.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "fsparse/bitmap.h"
#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "tests/unit/support/memory_image.h"

namespace unionfs::testing {
namespace {

// The value; an exception where there is none, because an image that facts are asked of
// can be opened.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().message);
  }
  return std::move(*result);
}

void must(const Result<void>& result) {
  if (!result) {
    throw std::runtime_error(result.error().message);
  }
}

std::string text_hash(ConstByteSpan bytes) {
  return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
}

std::string record_of(InodeRecord record) {
  record.raw().i_atime = 0U;
  constexpr size_t kExtra =
      ext2::kGoodOldInodeSizeBytes + offsetof(ext2::InodeExtra, i_atime_extra);
  const ByteSpan bytes = record.bytes();
  if (bytes.size() >= kExtra + sizeof(Le32)) {
    std::fill_n(bytes.begin() + kExtra, sizeof(Le32), std::byte{0});
  }
  return text_hash(bytes);
}

class FactFinder {
 public:
  explicit FactFinder(const Volume& volume)
      : volume_(volume), block_(volume.layout().block_size_bytes) {}

  Facts find() {
    add_superblock();
    for (uint32_t group = 0; group < volume_.layout().group_count(); ++group) {
      add_group(GroupNumber(group));
    }
    return std::move(facts_);
  }

 private:
  void add_superblock() {
    ext2::Superblock raw = volume_.superblock().raw();
    raw.s_free_blocks_count = 0U;
    raw.s_free_inodes_count = 0U;
    raw.s_overhead_clusters = 0U;
    raw.s_block_group_nr = uint16_t{0};
    raw.s_jnl_blocks = {};
    facts_["superblock"] = text_hash(std::as_bytes(std::span(&raw, 1)));
    std::vector<std::byte> boot(ext2::kSuperblockOffsetBytes);
    must(volume_.image().read(0, boot));
    facts_["boot area"] = text_hash(boot);
  }

  void add_group(GroupNumber number) {
    const Group& group = volume_.group(number);
    const Layout& layout = volume_.layout();
    must(volume_.read_block(group.block_bitmap, block_));
    facts_[fmt::format("group {} blocks", number)] =
        text_hash(ConstByteSpan(block_).first(layout.blocks_of(number).count() / 8));
    must(volume_.read_block(group.inode_bitmap, block_));
    const std::vector<std::byte> inodes(block_.begin(), block_.end());
    facts_[fmt::format("group {} inodes", number)] =
        text_hash(ConstByteSpan(inodes).first(layout.inodes_per_group / 8));
    for (uint32_t bit = 0; bit < layout.inodes_per_group; ++bit) {
      if (test_bit(inodes, bit)) {
        add_inode(InodeNumber(number.value() * layout.inodes_per_group + bit + 1));
      }
    }
  }

  void add_inode(InodeNumber number) {
    const std::string name = fmt::format("inode {}", number);
    const InodeRecord record = must(read_inode(volume_, number));
    facts_[name] = record_of(record);
    if (number.value() < volume_.layout().first_inode && number.value() != ext2::kRootInode) {
      return;
    }
    const Result<void> walked =
        walk_block_map(volume_, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          UNIONFS_TRY(volume_.read_block(block, block_));
          const bool has_names = record.is_directory() && role.level == 0;
          facts_[fmt::format("{} level {} block {}", name, role.level, role.first)] =
              fmt::format("{} {}", block, has_names ? "" : text_hash(block_));
          return WalkStep::kContinue;
        });
    if (!walked) {
      facts_[name + " blocks"] = walked.error().message;
    }
    if (const auto xattrs = volume_.file_block(record.file_acl())) {
      must(volume_.read_block(*xattrs, block_));
      facts_[name + " attributes"] = text_hash(block_);
    }
    if (record.is_directory()) {
      add_names(name, record);
    }
  }

  void add_names(const std::string& name, const InodeRecord& directory) {
    const auto entries = read_directory(volume_, directory);
    if (!entries) {
      facts_[name + " names"] = entries.error().message;
      return;
    }
    for (const NamedEntry& entry : *entries) {
      facts_[fmt::format("{} entry {}+{}", name, entry.file_block, entry.offset)] =
          fmt::format("{} {} {}", entry.name, entry.inode, entry.file_type);
      // Also one that the bitmap calls free, if a client could still use it.
      const auto target = read_inode(volume_, entry.inode);
      if (target && target->raw().i_links_count != 0) {
        facts_[fmt::format("inode {}", entry.inode)] = record_of(*target);
      }
    }
  }

  const Volume& volume_;
  std::vector<std::byte> block_;
  Facts facts_;
};

}  // namespace

Facts facts_of(ConstByteSpan image) {
  const MemoryImage bytes("image", {image.begin(), image.end()});
  const Volume volume = must(Volume::open(bytes, SuperblockUse::kLower));
  return FactFinder(volume).find();
}

std::string difference(const Facts& expected, const Facts& found) {
  std::string text;
  int count = 0;
  for (const auto& [name, value] : expected) {
    const auto other = found.find(name);
    if ((other == found.end() || other->second != value) && ++count <= 8) {
      text += fmt::format("{}: {}, now {}\n", name, value,
                          other == found.end() ? "nothing" : other->second);
    }
  }
  for (const auto& [name, value] : found) {
    if (!expected.contains(name) && ++count <= 8) {
      text += fmt::format("{}: nothing, now {}\n", name, value);
    }
  }
  return text;
}

}  // namespace unionfs::testing
