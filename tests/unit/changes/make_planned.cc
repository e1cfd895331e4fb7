// SPDX-License-Identifier: BSD-3-Clause
//
// What a plan says is made, and nothing else.
#include <fcntl.h>
#include <unistd.h>

#include "overlay/merged/merged_image.h"
#include "tests/unit/changes/plan_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

std::string text_of(uint64_t seed, size_t length) {
  const std::vector<std::byte> bytes = pattern(seed, length);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

constexpr size_t kLarge = 900'000;  // with indirect blocks of two levels where blocks are small

const RealImage& make_below(uint32_t block_size_bytes, uint32_t inode_size_bytes) {
  static std::map<std::pair<uint32_t, uint32_t>, std::unique_ptr<RealImage>> images;
  auto& image = images[{block_size_bytes, inode_size_bytes}];
  if (image) {
    return *image;
  }
  const ScratchDirectory tree;
  for (const char* name : {"a/inner/deep", "b/other", "old/kept"}) {
    std::filesystem::create_directories(tree.path() / name);
  }
  write_file(tree.path() / "large", text_of(1, kLarge));
  write_file(tree.path() / "small", "small\n");
  write_file(tree.path() / "second", "second\n");
  write_file(tree.path() / "a/in_a", "in a\n");
  write_file(tree.path() / "a/inner/file", text_of(2, 9000));
  write_file(tree.path() / "b/in_b", "in b\n");
  write_file(tree.path() / "old/gone", text_of(3, 30000));
  write_file(tree.path() / "old/kept/file", "kept\n");
  std::filesystem::create_symlink("small", tree.path() / "link");
  std::filesystem::create_symlink(std::string(200, 's'), tree.path() / "long_link");
  MakeOptions options;
  options.block_size_bytes = block_size_bytes;
  options.inode_size_bytes = inode_size_bytes;
  options.features = "filetype,sparse_super,resize_inode,ext_attr,dir_index,large_file";
  options.more = {"-N", "512"};
  options.content = tree.path();
  image = std::make_unique<RealImage>(8 * kMebibyte / block_size_bytes, options);
  image->change({"ln small twice", "ln small b/thrice", "sif small links_count 3",
                 "mknod device c 1 3", "mknod pipe p", "ea_set small user.colour red",
                 "ea_set a user.colour blue", "sif a generation 7", "sif b generation 8"});
  image->repair({});
  image->check_clean();
  return *image;
}

const RealImage& make_source(uint32_t block_size_bytes, uint32_t inode_size_bytes) {
  static std::map<std::pair<uint32_t, uint32_t>, std::unique_ptr<RealImage>> images;
  auto& image = images[{block_size_bytes, inode_size_bytes}];
  if (image) {
    return *image;
  }
  const ScratchDirectory tree;
  std::filesystem::create_directories(tree.path() / "directory");
  std::string changed = text_of(1, kLarge);
  changed[kLarge / 2] ^= 1;
  write_file(tree.path() / "changed", changed);
  write_file(tree.path() / "cut", text_of(1, 30'500));
  write_file(tree.path() / "grown", text_of(1, kLarge) + text_of(9, 70'000));
  write_file(tree.path() / "new", text_of(4, 20'000));
  std::filesystem::create_symlink("another", tree.path() / "link");
  std::filesystem::create_symlink(std::string(300, 't'), tree.path() / "long_link");
  {
    // Data, a hole of 400,000 bytes, data, and a hole at the end.
    const std::string all = text_of(1, kLarge);
    write_file(tree.path() / "holes", "");
    const int descriptor = ::open((tree.path() / "holes").c_str(), O_WRONLY);
    REQUIRE(::pwrite(descriptor, all.data(), 102'400, 0) == 102'400);
    REQUIRE(::pwrite(descriptor, all.data() + 512'000, 102'400, 512'000) == 102'400);
    REQUIRE(::ftruncate(descriptor, kLarge) == 0);
    ::close(descriptor);
  }
  MakeOptions options;
  options.block_size_bytes = block_size_bytes;
  options.inode_size_bytes = inode_size_bytes;
  options.features = "filetype,sparse_super,ext_attr,large_file";
  options.content = tree.path();
  image = std::make_unique<RealImage>(8 * kMebibyte / block_size_bytes, options);
  image->change({"mknod device b 8 17", "mknod pipe p", "ea_set new user.colour green",
                 "ea_set new trusted.more " + std::string(400, 'm'),
                 "ea_set directory user.place here"});
  image->repair({});
  return *image;
}

PlanImages images_of(uint32_t block_size = 1024, uint32_t source_block_size = 1024,
                     uint32_t inode_size = 128, uint32_t source_inode_size = 128) {
  return {make_below(block_size, inode_size), make_source(source_block_size, source_inode_size)};
}

}  // namespace

TEST_CASE("Plan: one changed byte costs a block, whatever the block sizes", "[plan]") {
  const uint32_t block_size = GENERATE(1024u, 4096u);
  const uint32_t source_block_size = GENERATE(1024u, 4096u);
  CAPTURE(block_size, source_block_size);
  const PlanImages images = images_of(block_size, source_block_size);
  PlanWriter writer(images);
  writer.put("/large", writer.existing("/large"));
  const uint64_t untouched = make_layer(images, writer.plan).own_block_count();
  writer.give_content(writer.existing("/large"), "/changed");
  writer.state(writer.existing("/large")).modified.seconds += 5;

  const MadeLayer made = make_layer(images, writer.plan);

  CHECK(content_at(made.volume(), "/large") == content_at(images.source(), "/changed"));
  CHECK(inode_at(made.volume(), "/large") == inode_at(images.image(), "/large"));
  CHECK(made.made.bytes_written == block_size);
  // The block, and the indirect blocks above it, of which the layer has its own.
  CHECK(made.own_block_count() <= untouched + 3);
}

TEST_CASE("Plan: the checkpoint need not search for names that the plan has", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const PlannedFileId small = writer.existing("/small");
  writer.state(small).mode ^= 0100;
  const uint64_t searched = make_layer(images, writer.plan).figures.directories_searched;
  CHECK(searched > 0);

  for (const char* path : {"/small", "/twice", "/b/thrice"}) {
    writer.put(path, small);
  }
  const MadeLayer made = make_layer(images, writer.plan);
  CHECK(made.figures.directories_searched == 0);
  CHECK(inode_at(made.volume(), "/b/thrice") == inode_at(images.image(), "/small"));

  // Others than those that name it change nothing.
  writer.put("/a/in_a", writer.existing("/a/in_a"));
  writer.put("/old/kept/file", writer.existing("/old/kept/file"));
  const MadeLayer same = make_layer(images, writer.plan);
  CHECK(same.figures.directories_searched == 0);
  const uint64_t size = made.upper->size_bytes();
  CHECK(is_same_bytes(made.upper->bytes(0, size), same.upper->bytes(0, size)));
}

TEST_CASE("Plan: the checkpoint need not search for owners of changed blocks", "[plan]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.give_content(writer.existing("/large"), "/changed");
  writer.put("/large", writer.existing("/large"));
  const MadeLayer made = make_layer(images, writer.plan);
  CHECK(made.figures.inodes_searched == 0);
  CHECK(made.figures.directories_searched == 0);
}
