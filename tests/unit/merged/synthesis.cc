// SPDX-License-Identifier: BSD-3-Clause
//
// The merged image over lowers of many kinds: byte for byte what the lower has,
// but for what growing must change, and clean to stock e2fsck; so is the layer.
#include <algorithm>
#include <fstream>
#include <map>
#include <random>

#include "fsparse/bitmap.h"
#include "fsparse/directory.h"
#include "overlay/host/posix_file.h"
#include "overlay/upper/layer_create.h"
#include "tests/unit/support/overlay_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

class Untouched {
 public:
  Untouched(const Lower& lower, const Disk& disk)
      : lower_(lower),
        geometry_(disk.geometry()),
        merged_(read_all(disk)),
        below_(lower.layout().size_bytes()) {
    expect_success(lower.file->read(0, below_));
  }

  void check() {
    check_blocks();
    for (uint32_t number = 0; number < geometry_.merged().group_count(); ++number) {
      check_block_bitmap(GroupNumber(number));
      check_inode_bitmap(GroupNumber(number));
    }
    check_superblock();
  }

 private:
  ConstByteSpan merged(BlockNumber block) const {
    const uint32_t size = geometry_.merged().block_size_bytes;
    return ConstByteSpan(merged_).subspan(block.value() * size, size);
  }
  ConstByteSpan below(BlockNumber block) const {
    const uint32_t size = geometry_.merged().block_size_bytes;
    return ConstByteSpan(below_).subspan(block.value() * size, size);
  }

  // D-blocks and inode tables show the lower, or zeros where there is none;
  // only a released resize inode is gone.
  void check_blocks() {
    uint64_t different = 0;
    for (uint64_t number = 0; number < geometry_.merged().block_count; ++number) {
      const BlockNumber block(number);
      const FixedRange* range = geometry_.fixed_at_or_after(block);
      const bool is_fixed = range != nullptr && range->blocks.contains(block);
      if (is_fixed && range->kind != FixedKind::kInodeTable && range->kind != FixedKind::kBoot) {
        continue;
      }
      std::vector<std::byte> expected(geometry_.merged().block_size_bytes);
      if (number < geometry_.lower().block_count) {
        std::copy(below(block).begin(), below(block).end(), expected.begin());
      }
      if (is_fixed && !geometry_.released().empty()) {
        clear_resize_inode(block, expected);
      }
      different += is_same_bytes(expected, merged(block)) ? 0 : 1;
    }
    CHECK(different == 0);
  }

  void clear_resize_inode(BlockNumber block, ByteSpan bytes) const {
    const uint64_t offset =
        inode_offset(lower_.layout(), lower_.volume.groups(), InodeNumber(ext2::kResizeInode));
    const uint64_t begin = lower_.layout().offset_of(block);
    if (offset >= begin && offset < begin + bytes.size()) {
      const ByteSpan slot = bytes.subspan(offset - begin, lower_.layout().inode_size_bytes);
      std::fill(slot.begin(), slot.end(), std::byte{0});
    }
  }

  void check_block_bitmap(GroupNumber group) {
    const Layout& merged_layout = geometry_.merged();
    const BlockRange blocks = merged_layout.blocks_of(group);
    const ConstByteSpan bits = merged(geometry_.groups()[group.value()].block_bitmap);
    const uint64_t lower_count =
        geometry_.is_appended(group) ? 0 : geometry_.lower().blocks_of(group).count();
    uint64_t wrong = 0;
    for (uint64_t bit = 0; bit < bits.size() * 8; ++bit) {
      const BlockNumber block = blocks.begin + bit;
      bool expected = bit >= blocks.count();  // padding
      if (bit < lower_count) {
        const BlockNumber place = lower_.volume.group(group).block_bitmap;
        expected = test_bit(below(place), bit) && !is_released(block);
      } else if (bit < blocks.count()) {
        const FixedRange* range = geometry_.fixed_at_or_after(block);
        expected = range != nullptr && range->blocks.contains(block);
      }
      wrong += test_bit(bits, bit) == expected ? 0 : 1;
    }
    INFO("block bitmap of group " << group.value());
    CHECK(wrong == 0);
  }

  bool is_released(BlockNumber block) const {
    const auto& ranges = geometry_.released();
    return std::any_of(ranges.begin(), ranges.end(),
                       [block](const BlockRange& range) { return range.contains(block); });
  }

  void check_inode_bitmap(GroupNumber group) {
    const ConstByteSpan bits = merged(geometry_.groups()[group.value()].inode_bitmap);
    uint64_t wrong = 0;
    for (uint64_t bit = 0; bit < bits.size() * 8; ++bit) {
      bool expected = bit >= geometry_.merged().inodes_per_group;
      if (!expected && !geometry_.is_appended(group)) {
        expected = test_bit(below(lower_.volume.group(group).inode_bitmap), bit);
      }
      wrong += test_bit(bits, bit) == expected ? 0 : 1;
    }
    INFO("inode bitmap of group " << group.value());
    CHECK(wrong == 0);
  }

  // The lower's, but for what growing must change.
  void check_superblock() {
    ext2::Superblock found;
    std::memcpy(&found, &merged_[ext2::kSuperblockOffsetBytes], sizeof(found));
    ext2::Superblock expected = lower_.volume.superblock().raw();
    const Layout& merged_layout = geometry_.merged();
    expected.s_blocks_count = static_cast<uint32_t>(merged_layout.block_count);
    expected.s_inodes_count = static_cast<uint32_t>(merged_layout.inode_count());
    expected.s_r_blocks_count = found.s_r_blocks_count;  // the same share, checked below
    expected.s_overhead_clusters = found.s_overhead_clusters;
    uint64_t free_blocks = 0;
    uint64_t free_inodes = 0;
    for (const Group& group : geometry_.groups()) {
      free_blocks += group.free_blocks_count;
      free_inodes += group.free_inodes_count;
    }
    expected.s_free_blocks_count = static_cast<uint32_t>(free_blocks);
    expected.s_free_inodes_count = static_cast<uint32_t>(free_inodes);
    if (geometry_.has_appended_groups() && expected.s_rev_level != ext2::kGoodOldRevision) {
      expected.s_feature_compat = expected.s_feature_compat & ~ext2::kCompatResizeInode;
      expected.s_reserved_gdt_blocks = uint16_t{0};
    }
    if (expected.s_rev_level == ext2::kGoodOldRevision) {
      expected.s_first_ino = 0U;  // no field of this revision
      expected.s_inode_size = uint16_t{0};
    }
    if (merged_layout.has_meta_groups && !lower_.layout().has_meta_groups) {
      expected.s_rev_level = ext2::kDynamicRevision;
      expected.s_first_ino = ext2::kGoodOldFirstInode;
      expected.s_inode_size = static_cast<uint16_t>(merged_layout.inode_size_bytes);
      expected.s_feature_incompat = expected.s_feature_incompat | ext2::kIncompatMetaBg;
      expected.s_first_meta_bg = merged_layout.first_meta_group;
    }
    for (size_t at = 0; at < sizeof(found); ++at) {
      const auto* mine = reinterpret_cast<const std::byte*>(&expected);
      const auto* theirs = reinterpret_cast<const std::byte*>(&found);
      if (mine[at] != theirs[at]) {
        INFO("superblock, offset " << at);
        CHECK(static_cast<int>(theirs[at]) == static_cast<int>(mine[at]));
      }
    }
    const double share = double(found.s_r_blocks_count) / double(found.s_blocks_count);
    CHECK(share == Approx(double(lower_.volume.superblock().raw().s_r_blocks_count) /
                          double(lower_.volume.superblock().raw().s_blocks_count))
                       .margin(0.001));
  }

  const Lower& lower_;
  const Geometry& geometry_;
  std::vector<std::byte> merged_;
  std::vector<std::byte> below_;
};

// Overwrites, zeroes and trims at random, metadata too: the client is free to
// write nonsense, the layer must stay whole.
void scribble(Disk& disk, std::mt19937_64& random) {
  const uint64_t size = disk.geometry().size_bytes();
  const auto place = [&](uint64_t length) { return random() % (size - length); };
  for (int i = 0; i < 60; ++i) {
    const uint64_t length = 1 + random() % 9000;
    expect_success(disk.write(place(length), pattern(random(), length)));
    const uint64_t zeroes = 1 + random() % 20000;
    expect_success(disk.zero(place(zeroes), zeroes, {random() % 2 == 0, false}));
    const uint64_t trimmed = 1 + random() % 40000;
    expect_success(disk.trim(place(trimmed), trimmed));
  }
  // Also every kind of block that the layer has bytes of its own in.
  const Layout& merged = disk.geometry().merged();
  const std::vector<std::byte> noise = pattern(random(), merged.block_size_bytes);
  for (const FixedRange& range : disk.geometry().fixed_ranges()) {
    if (range.group.value() < 3) {
      expect_success(disk.write(merged.offset_of(range.blocks.begin), noise));
    }
  }
  for (const TranslatedBlock& entry : disk.layer().layer().tables().translated) {
    const uint64_t offset = merged.offset_of(entry.block);
    expect_success(random() % 2 == 0 ? disk.write(offset, noise)
                                     : disk.zero(offset, merged.block_size_bytes, {true, false}));
    if (random() % 2 == 0) {
      expect_success(disk.trim(offset, merged.block_size_bytes));
    }
  }
}

void check_lower(const RealImage& image, std::initializer_list<uint64_t> more_blocks) {
  image.check_clean();
  const Lower lower(image);
  const uint64_t block_size = lower.layout().block_size_bytes;
  for (const uint64_t more : more_blocks) {
    INFO("grown by " << more << " blocks");
    const uint64_t size = lower.layout().size_bytes() + more * block_size;
    const auto upper = make_upper(lower, size);
    check_layer_clean(*upper);
    {
      const auto disk = load_disk(lower, *upper);
      expect_success(disk->attach(Access::kReadOnly));
      Untouched(lower, *disk).check();
      check_merged_clean(*disk);
      CHECK(upper->count(FileOperation::kWrite) == 0);
    }
    const auto again = make_upper(lower, size);
    CHECK(std::equal(again->bytes(0, again->size_bytes()).begin(),
                     again->bytes(0, again->size_bytes()).end(),
                     upper->bytes(0, upper->size_bytes()).begin()));
    std::mt19937_64 random(more);
    {
      const auto disk = open_disk(lower, *upper);
      scribble(*disk, random);
    }
    check_layer_clean(*upper);
    CHECK_FALSE(upper->has_store_without_space());
  }
}

std::unique_ptr<RealImage> image_with_tree(const MakeOptions& options, uint64_t block_count) {
  const ScratchDirectory tree;
  make_tree(tree.path());
  MakeOptions with_tree = options;
  with_tree.content = tree.path();
  return std::make_unique<RealImage>(block_count, with_tree);
}

// A root directory with this many names of this length.
std::unique_ptr<RealImage> image_with_names(const MakeOptions& options, uint64_t block_count,
                                            int names, int name_bytes) {
  const ScratchDirectory tree;
  for (int i = 0; i < names; ++i) {
    write_file(tree.path() / fmt::format("{:x>{}}", i, name_bytes), "");
  }
  MakeOptions with_tree = options;
  with_tree.content = tree.path();
  return std::make_unique<RealImage>(block_count, with_tree);
}

struct EntryPlace {
  uint32_t size_bytes = 0;
  uint8_t name_len = 0;
  std::string name;
};

// The entries of a block by their places, free ones with the bytes that stand there.
std::map<uint32_t, EntryPlace> entries_of(ConstByteSpan block) {
  std::map<uint32_t, EntryPlace> entries;
  const DirectoryRules rules{1U << 20, true, true};
  const DirectoryPlace place{"test", kRootDirectory, BlockNumber(0)};
  expect_success(for_each_entry(block, rules, place, [&](const EntryView& view) {
    ext2::DirectoryEntry raw;
    std::memcpy(&raw, block.data() + view.offset, sizeof(raw));
    const char* name = reinterpret_cast<const char*>(block.data()) + view.offset + sizeof(raw);
    entries[view.offset] = {view.size_bytes, raw.name_len, std::string(name, raw.name_len)};
    return Result<EntryStep>(EntryStep::kContinue);
  }));
  return entries;
}

constexpr const char* kUsual = "filetype,sparse_super,large_file,dir_index";

}  // namespace

TEST_CASE("Synthesis: blocks of 1, 2 and 4 KiB", "[synthesis]") {
  for (const uint32_t block_size : {1024U, 2048U, 4096U}) {
    INFO("blocks of " << block_size);
    const RealImage& image = small_image(block_size);
    check_lower(image, {0, 100, 7 * 256});
  }
}

TEST_CASE("Synthesis: with a resize inode", "[synthesis]") {
  MakeOptions options;
  options.features = std::string(kUsual) + ",resize_inode";
  options.inode_size_bytes = 256;
  options.more = {"-g", "1024", "-N", "256"};
  check_lower(*image_with_tree(options, 5000), {0, 600, 9000, 40 * 1024});
}

TEST_CASE("Synthesis: revision 0", "[synthesis]") {
  MakeOptions options;
  options.features = "none";
  options.more = {"-r", "0", "-g", "512", "-N", "256"};
  const auto image = image_with_tree(options, 3 * 512 + 200);
  CHECK_THAT(image->dumpe2fs(), Catch::Contains("0 (original)"));
  check_lower(*image, {0, 512, 5 * 512, 60 * 512});
}

TEST_CASE("Synthesis: without the filetype feature", "[synthesis]") {
  MakeOptions options;
  options.features = "^filetype,sparse_super,^resize_inode";
  options.more = {"-g", "512", "-N", "256"};
  check_lower(*image_with_tree(options, 2000), {0, 4096});
}

TEST_CASE("Synthesis: meta_bg", "[synthesis]") {
  MakeOptions options;
  options.features = "meta_bg,filetype,sparse_super,^resize_inode";
  options.more = {"-g", "256", "-N", "1024"};
  check_lower(*image_with_tree(options, 40 * 256 + 120), {0, 300, 30 * 256, 100 * 256});
}

TEST_CASE("Synthesis: sparse_super2", "[synthesis]") {
  for (const char* backups : {"num_backup_sb=2", "num_backup_sb=1", "num_backup_sb=0"}) {
    INFO(backups);
    MakeOptions options;
    options.features = "sparse_super2,filetype,^resize_inode";
    options.extended = backups;
    options.more = {"-g", "512", "-N", "256"};
    check_lower(*image_with_tree(options, 5 * 512 + 1), {0, 512, 50 * 512});
  }
}

TEST_CASE("Synthesis: a root directory with an htree", "[synthesis]") {
  MakeOptions options;
  options.features = std::string(kUsual) + ",^resize_inode";
  options.more = {"-N", "4096"};
  const auto image = image_with_names(options, 8192, 2000, 60);
  image->repair({"-D"});
  const Lower lower(*image);
  const InodeRecord root = value_of(read_inode(lower.volume, kRootDirectory));
  REQUIRE(root.has_index());
  REQUIRE(root.pointer(ext2::kIndirectSlot).value() != 0);
  check_lower(*image, {0, 8192});
}

TEST_CASE("Synthesis: a root directory with indirect blocks", "[synthesis]") {
  MakeOptions options;
  options.features = "filetype,sparse_super,^resize_inode";
  options.more = {"-N", "2048"};
  const auto image = image_with_names(options, 8192, 1300, 220);
  const Lower lower(*image);
  const InodeRecord root = value_of(read_inode(lower.volume, kRootDirectory));
  REQUIRE_FALSE(root.has_index());
  REQUIRE(root.pointer(ext2::kDoubleIndirectSlot).value() != 0);
  check_lower(*image, {8192});
}

TEST_CASE("Synthesis: the root shares its xattr block with other inodes", "[synthesis]") {
  MakeOptions options;
  options.features = std::string(kUsual) + ",^resize_inode";
  const auto image = image_with_tree(options, 4096);
  image->change({"ea_set / user.colour green", "ea_set / user.shape round"});
  const uint64_t block = number_after(image->debugfs("stat /"), "File ACL:");
  REQUIRE(block != 0);
  // The kernel shares equal xattr blocks; debugfs is told to.
  const std::string acl = std::to_string(block);
  image->change({"sif hello file_acl " + acl, "sif hello blocks 4", "sif small file_acl " + acl,
                 "sif small blocks 4"});
  {
    std::fstream stream(image->path(), std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(
        static_cast<std::streamoff>(block * 1024 + offsetof(ext2::XattrHeader, h_refcount)));
    stream.put(3);
  }
  check_lower(*image, {0, 8192});
  const Lower lower(*image);
  const auto upper = make_upper(lower, 8 * kMebibyte);
  const auto in_layer = upper->get<ext2::XattrHeader>(block * 1024);
  CHECK(in_layer.h_refcount == 1);
}

// `debugfs ls` prints the names of free entries, too.
TEST_CASE("Synthesis: a whiteout leaves free space without a name", "[synthesis]") {
  const RealImage& image = small_image(1024);
  const Lower lower(image);
  const auto upper = make_upper(lower, small_merged_size(1024));
  BlockNumber block;
  {
    const auto disk = load_disk(lower, *upper);
    block = disk->layer().layer().tables().translated.at(0).block;
  }
  std::vector<std::byte> bytes(1024);
  expect_success(upper->read(block.value() * 1024, bytes));
  const std::map<uint32_t, EntryPlace> before = entries_of(bytes);
  const auto found = std::find_if(before.begin(), before.end(),
                                  [](const auto& entry) { return entry.second.name == "hello"; });
  REQUIRE(found != before.end());
  rewrite_entry(bytes, found->first, InodeNumber(0), ext2::kFileTypeWhiteout);
  expect_success(upper->write(block.value() * 1024, bytes));

  const auto disk = load_disk(lower, *upper);
  const std::vector<std::byte> merged = read_range(*disk, block.value() * 1024, 1024);
  const std::map<uint32_t, EntryPlace> after = entries_of(merged);
  REQUIRE(after.size() == before.size());
  for (const auto& [offset, entry] : before) {
    INFO("entry " << entry.name << " at " << offset);
    CHECK(after.at(offset).size_bytes == entry.size_bytes);
    CHECK(after.at(offset).name == (entry.name == "hello" ? "" : entry.name));
  }
  const std::string text(reinterpret_cast<const char*>(merged.data()), merged.size());
  CHECK(text.find("hello") == std::string::npos);
}

TEST_CASE("Synthesis: a lower of 256 GiB grown to 512", "[synthesis][huge]") {
  constexpr uint64_t kBlocks = uint64_t{64} << 20;
  MakeOptions options;
  options.block_size_bytes = 4096;
  options.features = std::string(kUsual) + ",resize_inode";
  options.more = {"-i", "4194304"};
  const RealImage image(kBlocks, options);
  const auto file = value_of(PosixFile::open(image.path().string(), FileLock::kShared));
  const auto lower = value_of(LowerImage::open(*file));
  const Geometry geometry = value_of(Geometry::grow(lower->volume(), 2 * kBlocks * 4096));
  CHECK(geometry.merged().group_count() == 4096);

  const auto upper = value_of(PosixFile::create_temporary(image.directory().string()));
  expect_success(create_layer(*upper, lower->volume(), geometry));
  const auto disk = value_of(Disk::load(*lower, *upper, kBootId, quiet_log()));
  expect_success(disk->attach(Access::kReadOnly));

  // The merged image as a sparse file, by its extents.
  const auto path = image.directory() / "merged.img";
  {
    std::ofstream stream(path, std::ios::binary);
    std::vector<std::byte> buffer;
    disk->view().for_each_extent(0, geometry.size_bytes(),
                                 [&](uint64_t offset, uint64_t length, bool is_hole) {
                                   if (!is_hole) {
                                     buffer.resize(length);
                                     expect_success(disk->read(offset, buffer));
                                     stream.seekp(static_cast<std::streamoff>(offset));
                                     stream.write(reinterpret_cast<const char*>(buffer.data()),
                                                  static_cast<std::streamsize>(length));
                                   }
                                   return true;
                                 });
    REQUIRE(stream.flush());
  }
  std::filesystem::resize_file(path, geometry.size_bytes());
  CHECK_NOTHROW(run({"e2fsck", "-fn", path.string()}));
}
