// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/checkpoint/checkpoint_bench.h"

#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>

#include "fsparse/bitmap.h"
#include "fsparse/block_map.h"
#include "fsparse/directory.h"
#include "tests/unit/support/memory_image.h"

namespace unionfs::testing {
namespace {

std::string hash_of(ConstByteSpan bytes) {
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
  return hash_of(bytes);
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
    facts_["superblock"] = hash_of(std::as_bytes(std::span(&raw, 1)));
    std::vector<std::byte> boot(ext2::kSuperblockOffsetBytes);
    expect_success(volume_.image().read(0, boot));
    facts_["boot area"] = hash_of(boot);
  }

  void add_group(GroupNumber number) {
    const Group& group = volume_.group(number);
    const Layout& layout = volume_.layout();
    expect_success(volume_.read_block(group.block_bitmap, block_));
    facts_[fmt::format("group {} blocks", number)] =
        hash_of(ConstByteSpan(block_).first(layout.blocks_of(number).count() / 8));
    expect_success(volume_.read_block(group.inode_bitmap, block_));
    const std::vector<std::byte> inodes(block_.begin(), block_.end());
    facts_[fmt::format("group {} inodes", number)] =
        hash_of(ConstByteSpan(inodes).first(layout.inodes_per_group / 8));
    for (uint32_t bit = 0; bit < layout.inodes_per_group; ++bit) {
      if (test_bit(inodes, bit)) {
        add_inode(InodeNumber(number.value() * layout.inodes_per_group + bit + 1));
      }
    }
  }

  void add_inode(InodeNumber number) {
    const std::string name = fmt::format("inode {}", number);
    const InodeRecord record = value_of(read_inode(volume_, number));
    facts_[name] = record_of(record);
    if (number.value() < volume_.layout().first_inode && number.value() != ext2::kRootInode) {
      return;
    }
    const Result<void> walked =
        walk_block_map(volume_, record, [&](BlockRole role, BlockNumber block) -> Result<WalkStep> {
          UNIONFS_TRY(volume_.read_block(block, block_));
          const bool has_names = record.is_directory() && role.level == 0;
          facts_[fmt::format("{} level {} block {}", name, role.level, role.first)] =
              fmt::format("{} {}", block, has_names ? "" : hash_of(block_));
          return WalkStep::kContinue;
        });
    if (!walked) {
      facts_[name + " blocks"] = walked.error().message;
    }
    if (record.file_acl().value() != 0 && volume_.is_inside(record.file_acl())) {
      expect_success(volume_.read_block(record.file_acl(), block_));
      facts_[name + " attributes"] = hash_of(block_);
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
  const Volume volume = value_of(Volume::open(bytes, SuperblockUse::kLower));
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

void write_differences(Disk& disk, ConstByteSpan wanted) {
  const std::vector<std::byte> now = read_all(disk);
  const size_t size = disk.geometry().merged().block_size_bytes;
  for (size_t offset = 0; offset < now.size(); offset += size) {
    const ConstByteSpan block = wanted.subspan(offset, size);
    if (!std::equal(block.begin(), block.end(), now.begin() + static_cast<ptrdiff_t>(offset))) {
      expect_success(disk.write(offset, block));
    }
  }
}

std::vector<std::byte> changed_by_debugfs(const Disk& disk,
                                          const std::vector<std::string>& requests) {
  const ScratchDirectory scratch;
  const std::filesystem::path path = scratch.path() / "merged.img";
  std::vector<std::byte> bytes = read_all(disk);
  save(bytes, path);
  std::filesystem::resize_file(path, bytes.size());
  for (const auto& [name, length] :
       {std::pair("small", 500), std::pair("large", 90000), std::pair("larger", 140000)}) {
    const std::vector<std::byte> content = pattern(static_cast<uint64_t>(length), size_t(length));
    write_file(scratch.path() / name,
               {reinterpret_cast<const char*>(content.data()), content.size()});
  }
  std::string input;
  for (const std::string& request : requests) {
    std::string line = request;
    if (const size_t at = line.find("@/"); at != std::string::npos) {
      line.replace(at, 1, scratch.path().string());
    }
    input += line + "\n";
  }
  run({"debugfs", "-w", "-f", "-", path.string()}, input);
  run({"e2fsck", "-fy", path.string()}, "", {0, 1});
  run({"e2fsck", "-fn", path.string()});
  std::ifstream stream(path, std::ios::binary);
  stream.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(stream);
  return bytes;
}

Result<CheckpointFigures> checkpoint(std::unique_ptr<Disk> disk) {
  UNIONFS_TRY(disk->close());
  const std::atomic<bool> is_cancelled{false};
  return disk->checkpoint(AskedBy::kPerson, is_cancelled);
}

std::vector<std::byte> shown(const Lower& lower, WritableFile& upper, const std::string& boot_id) {
  std::unique_ptr<Disk> disk = load_disk(lower, upper, boot_id);
  if (disk->has_journal()) {
    expect_success(disk->finish_checkpoint());
    disk = load_disk(lower, upper, boot_id);
    CHECK_FALSE(disk->has_journal());
  }
  expect_success(disk->attach(Access::kReadOnly));
  return read_all(*disk);
}

const CheckpointImages& CheckpointImages::of(uint32_t block_size_bytes) {
  static std::map<uint32_t, std::unique_ptr<CheckpointImages>> all;
  std::unique_ptr<CheckpointImages>& images = all[block_size_bytes];
  if (!images) {
    images.reset(new CheckpointImages(block_size_bytes));
  }
  return *images;
}

CheckpointImages::CheckpointImages(uint32_t block_size_bytes)
    : lower_(small_image(block_size_bytes)) {
  std::unique_ptr<MemoryFile> upper = make_upper(lower_, small_merged_size(block_size_bytes));
  auto disk = open_disk(lower_, *upper);
  write_differences(
      *disk, changed_by_debugfs(
                 *disk, {"mkdir /new", "write @/large /new/large", "write @/small /new/small",
                         "symlink /new/link " + std::string(80, 'y'), "rm /small",
                         "set_inode_field /etc/deep/deeper/large mode 0100600",
                         "punch /etc/deep/deeper/large 20 40", "mknod /new/pipe p",
                         "ea_set /new/small user.note of_the_layer", "rmdir /empty"}));
  value_of(checkpoint(std::move(disk)));
  with_layer_ = upper->clone();

  disk = open_disk(lower_, *upper);
  before_ = read_all(*disk);
  write_differences(
      *disk,
      changed_by_debugfs(*disk, {"rm /new/large", "write @/larger /new/larger", "mkdir /etc/more",
                                 "write @/small /etc/more/small", "rm /link", "mknod /link c 1 3",
                                 "ln /hello /new/hello", "set_inode_field /hello links_count 3",
                                 "set_inode_field /new/small mtime 20200101", "rm /new/link",
                                 "punch /etc/deep/deeper/large 100 150", "unlink /etc/middle",
                                 "set_inode_field /new/pipe uid 77"}));
  expect_success(disk->close());
  session_ = read_all(*disk);
  disk.reset();
  with_session_ = upper->clone();

  value_of(checkpoint(open_disk(lower_, *upper)));
  after_ = shown(lower_, *upper);
  const std::string differing = difference(facts_of(session_), facts_of(after_));
  if (!differing.empty() || session_ == before_) {
    throw std::runtime_error("the checkpoint that tests start from is wrong: " + differing);
  }
  check_layer_clean(*upper);
}

}  // namespace unionfs::testing
