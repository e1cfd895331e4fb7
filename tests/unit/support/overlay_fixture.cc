// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/support/overlay_fixture.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>

#include "fsparse/bitmap.h"
#include "overlay/upper/layer_create.h"
#include "overlay/upper/layer_groups.h"

namespace unionfs::testing {
namespace {

constexpr uint64_t kBlocksPerGroup = 256;
constexpr uint64_t kSmallGroups = 5;  // and a half one

std::unique_ptr<MemoryFile> load_file(const std::filesystem::path& path, const std::string& name) {
  const uint64_t size = std::filesystem::file_size(path);
  auto file = std::make_unique<MemoryFile>(name, size);
  expect_success(file->resize(size));
  std::ifstream stream(path, std::ios::binary);
  std::vector<std::byte> page(MemoryFile::kPageBytes);
  for (uint64_t offset = 0; offset < size; offset += page.size()) {
    page.resize(static_cast<size_t>(std::min<uint64_t>(MemoryFile::kPageBytes, size - offset)));
    stream.read(reinterpret_cast<char*>(page.data()), static_cast<std::streamsize>(page.size()));
    if (std::any_of(page.begin(), page.end(), [](std::byte b) { return b != std::byte{0}; })) {
      file->poke(offset, page);
    }
  }
  if (!stream) {
    throw std::runtime_error("cannot read " + path.string());
  }
  return file;
}

std::string text_of(uint64_t seed, size_t length) {
  const std::vector<std::byte> bytes = pattern(seed, length);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Lower::Lower(const RealImage& source)
    : file(load_file(source.path(), "lower.img")),
      image(value_of(LowerImage::open(*file))),
      volume(image->volume()) {}

void make_tree(const std::filesystem::path& directory, uint64_t seed) {
  namespace fs = std::filesystem;
  fs::create_directories(directory / "etc" / "deep" / "deeper");
  fs::create_directories(directory / "empty");
  write_file(directory / "hello", "hello\n");
  write_file(directory / "small", text_of(seed + 1, 700));
  write_file(directory / "etc" / "middle", text_of(seed + 2, 30000));
  write_file(directory / "etc" / "deep" / "deeper" / "large", text_of(seed + 3, 200000));
  fs::create_symlink("etc/middle", directory / "link");
  fs::create_symlink(std::string(100, 'x'), directory / "etc" / "long link");
  fs::create_hard_link(directory / "hello", directory / "etc" / "hello again");
}

const RealImage& small_image(uint32_t block_size_bytes) {
  static std::map<uint32_t, std::unique_ptr<RealImage>> images;
  std::unique_ptr<RealImage>& image = images[block_size_bytes];
  if (!image) {
    const ScratchDirectory tree;
    make_tree(tree.path());
    MakeOptions options;
    options.block_size_bytes = block_size_bytes;
    options.features = "filetype,sparse_super,large_file,^resize_inode,dir_index";
    options.more = {"-g", std::to_string(kBlocksPerGroup), "-N", "192"};
    options.content = tree.path();
    image = std::make_unique<RealImage>(kSmallGroups * kBlocksPerGroup + 130, options);
  }
  return *image;
}

uint64_t small_merged_size(uint32_t block_size_bytes) {
  return (2 * kSmallGroups + 2) * kBlocksPerGroup * block_size_bytes;
}

std::unique_ptr<MemoryFile> make_upper(const Lower& lower, uint64_t size_bytes) {
  const Geometry geometry = value_of(Geometry::grow(lower.volume, size_bytes));
  auto upper = std::make_unique<MemoryFile>("upper.img", size_bytes + 8 * kMebibyte);
  expect_success(create_layer(*upper, lower.volume, geometry));
  expect_success(upper->sync());
  upper->reset_counts();
  return upper;
}

LogSink quiet_log() {
  return [](const std::string&) {};
}

std::unique_ptr<Disk> load_disk(const Lower& lower, WritableFile& upper, const std::string& boot_id,
                                Clock& clock) {
  return value_of(Disk::load(*lower.image, upper, boot_id, quiet_log(), clock));
}

std::unique_ptr<Disk> open_disk(const Lower& lower, WritableFile& upper, const std::string& boot_id,
                                Clock& clock) {
  std::unique_ptr<Disk> disk = load_disk(lower, upper, boot_id, clock);
  expect_success(disk->attach(Access::kReadWrite));
  return disk;
}

void make_own(MemoryFile& upper, const Geometry& geometry, BlockRange blocks, ConstByteSpan bytes) {
  const Layout& merged = geometry.merged();
  for (BlockNumber block = blocks.begin; block < blocks.end; ++block) {
    const GroupNumber group = merged.group_of(block);
    const uint64_t bitmap = merged.offset_of(geometry.groups()[group.value()].block_bitmap);
    std::vector<std::byte> bits(merged.block_size_bytes);
    expect_success(upper.peek(bitmap, bits));
    set_fixed_bits(geometry, group, bits);
    set_bits(bits, merged.blocks_of(group).count(), bits.size() * 8);
    set_bit(bits, block - merged.blocks_of(group).begin);
    upper.poke(bitmap, bits);
    const uint32_t per_block = merged.descriptors_per_block();
    const uint64_t place =
        merged.offset_of(merged.primary_descriptor_block(group.value() / per_block)) +
        group.value() % per_block * sizeof(ext2::GroupDescriptor);
    auto descriptor = upper.get<ext2::GroupDescriptor>(place);
    descriptor.bg_free_blocks_count =
        static_cast<uint16_t>(descriptor.bg_free_blocks_count.value() - 1);
    DescriptorForm(geometry, upper.get<ext2::Superblock>(ext2::kSuperblockOffsetBytes))
        .finish(group, descriptor);
    upper.put(place, descriptor);
  }
  upper.poke(merged.offset_of(blocks.begin), bytes);
}

std::vector<std::byte> read_range(const Disk& disk, uint64_t offset, uint64_t length) {
  std::vector<std::byte> bytes(length);
  expect_success(disk.read(offset, bytes));
  return bytes;
}

std::vector<std::byte> read_all(const Disk& disk) {
  return read_range(disk, 0, disk.geometry().size_bytes());
}

void save(ConstByteSpan bytes, const std::filesystem::path& path) {
  constexpr size_t kPiece = 65536;
  std::ofstream stream(path, std::ios::binary);
  for (size_t offset = 0; offset < bytes.size(); offset += kPiece) {
    const ConstByteSpan piece = bytes.subspan(offset, std::min(kPiece, bytes.size() - offset));
    if (std::any_of(piece.begin(), piece.end(), [](std::byte b) { return b != std::byte{0}; })) {
      stream.seekp(static_cast<std::streamoff>(offset));
      stream.write(reinterpret_cast<const char*>(piece.data()),
                   static_cast<std::streamsize>(piece.size()));
    }
  }
  if (!stream.flush()) {
    throw std::runtime_error("cannot write " + path.string());
  }
  stream.close();
  std::filesystem::resize_file(path, bytes.size());
}

void check_merged_clean(const Disk& disk) {
  const ScratchDirectory scratch;
  save(read_all(disk), scratch.path() / "merged.img");
  CHECK_NOTHROW(run({"e2fsck", "-fn", (scratch.path() / "merged.img").string()}));
}

void check_layer_clean(const MemoryFile& upper) {
  const ScratchDirectory scratch;
  std::vector<std::byte> bytes(upper.size_bytes());
  expect_success(upper.peek(0, bytes));
  auto* superblock =
      reinterpret_cast<ext2::Superblock*>(bytes.data() + ext2::kSuperblockOffsetBytes);
  CHECK((superblock->s_feature_incompat & ext2::kIncompatWhiteout) != 0);
  superblock->s_feature_incompat = superblock->s_feature_incompat & ~ext2::kIncompatWhiteout;
  save(bytes, scratch.path() / "layer.img");
  CHECK_NOTHROW(run({"e2fsck", "-fn", (scratch.path() / "layer.img").string()}));
}

std::vector<std::byte> pattern(uint64_t seed, uint64_t length) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(length);
  for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(&bytes[at], &word, std::min(sizeof(word), bytes.size() - at));
  }
  return bytes;
}

uint64_t test_seed(const std::string& purpose) {
  const char* given = std::getenv("UNIONFS_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device()();
  std::printf("%s: UNIONFS_SEED=%llu\n", purpose.c_str(), static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  return seed;
}

}  // namespace unionfs::testing
