// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/ext4_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/sources/sample_directory.h"
#include "tests/unit/sources/tree_facts.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

using std::filesystem::path;

const std::string kExt4 =
    "extents,flex_bg,huge_file,dir_nlink,extra_isize,metadata_csum,has_journal";

FileTree read_image(const RealImage& image) {
  return value_of(read_ext4_image(image.path().string()));
}

MakeOptions ext4_options(const std::string& more = "") {
  MakeOptions options;
  options.features = kExt4 + more;
  options.inode_size_bytes = 256;
  return options;
}

// What the bytes of the image say after an edit.
Result<FileTree> read_bytes(MemoryImage image) {
  return read_ext4_image(std::make_shared<MemoryImage>(std::move(image)));
}

}  // namespace

TEST_CASE("what mke2fs packed is read, of each kind", "[ext4_source]") {
  const auto [features, block_size, inode_size] = GENERATE(table<std::string, uint32_t, uint32_t>({
      {"", 1024, 128},
      {"has_journal", 1024, 256},
      {kExt4, 1024, 256},
      {kExt4 + ",64bit,inline_data", 4096, 256},
      {kExt4 + ",bigalloc", 1024, 512},
      {kExt4 + ",meta_bg,^resize_inode,sparse_super2", 2048, 256},
      {"^filetype", 1024, 128},
  }));
  INFO(features);
  const ScratchDirectory scratch;
  const path tree = scratch.path() / "tree";
  make_sample_directory(tree);
  set_attribute(tree / "one", "user.colour", "blue");
  set_sample_acl(tree / "text", "system.posix_acl_access");
  set_sample_acl(tree / "sub", "system.posix_acl_default");
  MakeOptions options;
  options.features = features;
  options.block_size_bytes = block_size;
  options.inode_size_bytes = inode_size;
  options.content = tree;
  const RealImage image(16384, options);
  expect_as_directory(read_image(image), tree, ComparedTimes::kSeconds);
}

TEST_CASE("what a mounted ext4 wrote is read", "[ext4_source][mounted]") {
  const RealImage image(65536, ext4_options(",64bit,inline_data,ea_inode"));
  const ScratchDirectory scratch;
  const path mounted = scratch.path() / "mounted";
  const path copy = scratch.path() / "copy";
  std::filesystem::create_directory(mounted);
  try {
    run({"mount", "-t", "ext4", "-o", "loop", image.path().string(), mounted.string()});
  } catch (const std::runtime_error& error) {
    WARN("ext4 cannot be mounted here: " << error.what());
    return;
  }
  make_sample_directory(mounted);
  std::filesystem::remove(mounted / "lost+found");
  write_file(mounted / "fragments", "");
  std::string expected;
  for (int piece = 0; piece < 40; ++piece) {
    const std::string text = sample_text(1024, piece);
    run({"dd", "of=" + (mounted / "fragments").string(), "bs=1024", "conv=notrunc",
         fmt::format("seek={}", 3 * piece)},
        text);
    expected.resize(size_t{3} * 1024 * piece);
    expected += text;
  }
  run({"fallocate", "-l", "1MiB", (mounted / "fragments").string()});
  expected.resize(1 << 20);
  run({"truncate", "-s", "100G", (mounted / "huge hole").string()});
  set_attribute(mounted / "one", "user.short", "");
  set_attribute(mounted / "text", "security.capability",
                std::string("\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20));
  set_sample_acl(mounted / "text", "system.posix_acl_access");
  run({"touch", "-d", "2100-01-02 03:04:05.678901234", (mounted / "page").string()});
  run({"touch", "-d", "1910-01-02 03:04:05.678901234", (mounted / "noise").string()});
  std::filesystem::rename(mounted / "huge hole", mounted / "sub/huge hole");
  struct stat page;
  REQUIRE(stat((mounted / "page").c_str(), &page) == 0);
  std::filesystem::remove(mounted / "sub/huge hole");
  run({"cp", "-a", mounted.string(), copy.string()});
  // What the file system of the copy may have no room for.
  run({"truncate", "-s", "100G", (mounted / "huge hole").string()});
  set_attribute(mounted / "one", "user.long", std::string(60000, 'v'));
  run({"umount", mounted.string()});
  FileTree tree = read_image(image);
  const TreeFile& hole = tree_file(tree, "huge hole");
  CHECK(hole.state.size_bytes == uint64_t{100} << 30);
  CHECK_FALSE(value_of(hole.content->next_data(0)));
  tree.root().names.erase("huge hole");
  const TreeName& one = tree_name(tree, "one");
  std::vector<Attribute>& attributes = tree.file(one.file).state.attributes;
  const auto is_long = [](const Attribute& attribute) { return attribute.name == "long"; };
  const auto value = std::find_if(attributes.begin(), attributes.end(), is_long);
  REQUIRE(value != attributes.end());
  CHECK(value->value == std::vector<std::byte>(60000, std::byte{'v'}));
  attributes.erase(value);
  CHECK(content_of(tree, "fragments") == expected);
  FileBytes& fragments = *tree_file(tree, "fragments").content;
  CHECK(value_of(fragments.next_data(1024)) == ByteRange{3072, 4096});
  CHECK_FALSE(value_of(fragments.next_data(121 * 1024)));
  const FileTime modified = tree_file(tree, "page").state.modified;
  CHECK(modified.seconds == page.st_mtim.tv_sec);
  CHECK(modified.nanoseconds == 678901234);
  expect_as_directory(tree, copy, ComparedTimes::kNanoseconds);
}

TEST_CASE("what was set aside and never written is a hole", "[ext4_source]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "file", sample_text(5000, 1));
  const RealImage image(16384, ext4_options());
  image.change({fmt::format("write {} file", (scratch.path() / "file").string()),
                "fallocate file 5 20", "set_inode_field file size 20000"});
  const FileTree tree = read_image(image);
  std::string expected = sample_text(5000, 1);
  expected.resize(20000);
  CHECK(content_of(tree, "file") == expected);
  CHECK_FALSE(value_of(tree_file(tree, "file").content->next_data(5120)));
}

TEST_CASE("a lost+found with nothing in it is nobody's file", "[ext4_source]") {
  const RealImage image(4096, ext4_options());
  CHECK_FALSE(has_path(read_image(image), "lost+found"));
  const FileTree whole = value_of(read_whole_image(image.path().string()));
  CHECK(tree_file(whole, "lost+found").state.permissions() == 0700);
  image.change({"mkdir /lost+found/#12"});
  CHECK(has_path(read_image(image), "lost+found/#12"));
}

TEST_CASE("a whole image hides all that lies below it", "[ext4_source]") {
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  MakeOptions options = ext4_options();
  options.content = scratch.path() / "tree";
  const RealImage image(16384, options);
  const FileTree tree = value_of(read_whole_image(image.path().string()));
  size_t directories = 0;
  expect_success(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    const TreeFile& file = tree.file(visit.name.file);
    CHECK(file.is_opaque == file.state.is_directory());
    directories += file.state.is_directory();
    return {};
  }));
  CHECK(directories == 5);
}

TEST_CASE("an image that is not at rest is refused with the remedy", "[ext4_source]") {
  const RealImage image(16384, ext4_options());
  image.change(
      {GENERATE("feature needs_recovery", "set_super_value state 0", "set_super_value state 3")});
  CHECK(expect_error(read_ext4_image(image.path().string()),
                     {"lower.img", "a copy of", "e2fsck -fy"}) == ErrorKind::kUnsupported);
}

TEST_CASE("encrypted files and unknown features are refused", "[ext4_source]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "file", "content");
  const RealImage image(16384, ext4_options());
  image.change({fmt::format("write {} file", (scratch.path() / "file").string())});
  SECTION("a file") {
    image.change({"set_inode_field file flags 0x80800"});
    CHECK(expect_error(read_ext4_image(image.path().string()), {"inode 12", "encrypted"}) ==
          ErrorKind::kUnsupported);
  }
  SECTION("a feature") {
    image.change({"set_super_value feature_incompat 0x80000002"});
    CHECK(expect_error(read_ext4_image(image.path().string()), {"lower.img"}) ==
          ErrorKind::kUnsupported);
  }
}

TEST_CASE("an external journal and what is no image at all", "[ext4_source]") {
  const auto read = [](std::vector<std::byte> bytes) {
    return read_bytes(MemoryImage("odd.img", std::move(bytes)));
  };
  CHECK(expect_error(read(std::vector<std::byte>(100000)), {"odd.img", "is not an ext2"}) ==
        ErrorKind::kCorrupt);
  CHECK(expect_error(read({}), {"odd.img", "is not an ext2"}) == ErrorKind::kCorrupt);
  MemoryImage cut = RealImage(16384, ext4_options()).load();
  cut.cut(9000000);
  CHECK(expect_error(read_bytes(cut), {"cut short", "16384 blocks"}) == ErrorKind::kCorrupt);
  MemoryImage journal = RealImage(4096, {}).load();
  journal.superblock().s_feature_incompat = 0x0008;
  CHECK(!read_bytes(journal));
}

TEST_CASE("directories with two names, and names that no file can have", "[ext4_source]") {
  const RealImage image(4096, {});
  image.change({"mkdir /directory", "mkdir /directory/inside"});
  SECTION("a second name") {
    image.change({"link /directory/inside /again"});
    CHECK(expect_error(read_ext4_image(image.path().string()), {"second name", "inode 13"}) ==
          ErrorKind::kCorrupt);
  }
  SECTION("a circle") {
    image.change({"link /directory /directory/inside/circle"});
    CHECK(expect_error(read_ext4_image(image.path().string()), {"second name"}) ==
          ErrorKind::kCorrupt);
  }
  SECTION("the root") {
    image.change({"link / /directory/root"});
    CHECK(expect_error(read_ext4_image(image.path().string()), {"\"root\"", "inode 2"}) ==
          ErrorKind::kCorrupt);
  }
  SECTION("an odd name") {
    MemoryImage bytes = image.load();
    const uint64_t block = number_after(image.debugfs("blocks /directory"), "");
    bytes.bytes(block * 1024 + 24 + 8 + 3, 1)[0] = std::byte('/');
    CHECK(expect_error(read_bytes(bytes), {"lower.img", "\"ins/de\""}) == ErrorKind::kCorrupt);
  }
  SECTION("an inode that is none") {
    image.change({"clri /directory/inside"});
    CHECK(expect_error(read_ext4_image(image.path().string()), {"inode 13", "no file"}) ==
          ErrorKind::kCorrupt);
  }
}

TEST_CASE("the journal of old, with a name, is no file", "[ext4_source]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "file", "content");
  const RealImage image(4096, {});
  image.change({fmt::format("write {} .journal", (scratch.path() / "file").string()),
                "set_super_value journal_inum 12"});
  CHECK(read_image(image).root().names.empty());
}

TEST_CASE("blocks that lie outside or come twice are an error", "[ext4_source]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "file", sample_text(40000, 1));
  MakeOptions options;
  options.inode_size_bytes = 256;
  options.features = GENERATE("", "extents");
  const RealImage image(4096, options);
  image.change({fmt::format("write {} file", (scratch.path() / "file").string())});
  const bool has_extents = !options.features.empty();
  image.change({has_extents ? "set_inode_field file block[5] 0x7fffffff"
                            : "set_inode_field file block[3] 0x7fffffff"});
  const FileTree tree = read_image(image);
  std::vector<std::byte> bytes(40000);
  CHECK(expect_error(tree_file(tree, "file").content->read(0, bytes), {"lower.img", "inode 12"}) ==
        ErrorKind::kCorrupt);
}

// Three levels of blocks of extents that are one and the same block: 1.7 million ways through it.
TEST_CASE("extents that lead to themselves come to an end", "[ext4_source]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "file", sample_text(40000, 1));
  MakeOptions options;
  options.inode_size_bytes = 256;
  options.features = "extents";
  const RealImage image(4096, options);
  image.change({fmt::format("write {} file", (scratch.path() / "file").string()),
                fmt::format("write {} circle", (scratch.path() / "file").string()),
                "mkdir directory"});
  const uint64_t block = number_after(image.debugfs("blocks file"), "");
  const std::string name = GENERATE("circle", "directory");
  std::vector<std::string> edits = {
      fmt::format("set_inode_field {} block[0] 0x0003f30a", name),
      fmt::format("set_inode_field {} block[1] 0x00030004", name),
  };
  for (int entry = 0; entry < 3; ++entry) {
    edits.push_back(fmt::format("set_inode_field {} block[{}] {}", name, 3 + 3 * entry, entry));
    edits.push_back(fmt::format("set_inode_field {} block[{}] {}", name, 4 + 3 * entry, block));
    edits.push_back(fmt::format("set_inode_field {} block[{}] 0", name, 5 + 3 * entry));
  }
  image.change(edits);
  const auto bytes = std::make_shared<MemoryImage>(image.load());
  const ByteSpan node = bytes->bytes(block * 1024, 1024);
  for (uint32_t word = 0; word < 256; ++word) {
    const uint32_t entry = (word - 3) / 3;
    const Le32 value = word == 0   ? 0x0054f30a
                       : word == 1 ? 0x00020054
                       : word == 2 ? 0
                                   : std::array<uint32_t, 3>{entry, uint32_t(block), 0}[word % 3];
    std::memcpy(&node[word * 4], &value, 4);
  }
  const auto tree = read_ext4_image(bytes);
  if (name == "directory") {
    CHECK(expect_error(tree, {"lower.img", "inode 14"}) == ErrorKind::kCorrupt);
  } else {
    REQUIRE(tree);
    const auto data = tree_file(*tree, "circle").content->next_data(0);
    CHECK(expect_error(data, {"lower.img", "inode 13"}) == ErrorKind::kCorrupt);
  }
  CHECK(bytes->read_count() < 20000);
}

TEST_CASE("a read that fails names the image", "[ext4_source]") {
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  MakeOptions options = ext4_options();
  options.content = scratch.path() / "tree";
  const RealImage image(16384, options);
  const auto bytes = std::make_shared<MemoryImage>(image.load());
  const FileTree tree = value_of(read_ext4_image(bytes));
  bytes->fail(0, bytes->size_bytes());
  std::vector<std::byte> some(4096);
  CHECK(expect_error(tree_file(tree, "text").content->read(0, some), {"lower.img"}) ==
        ErrorKind::kSystem);
  bytes->fail(2048, bytes->size_bytes());
  CHECK(expect_error(read_ext4_image(bytes), {"lower.img"}) == ErrorKind::kSystem);
}

TEST_CASE("an image with flipped bits gives files or an error", "[ext4_source]") {
  const ScratchDirectory scratch;
  make_sample_directory(scratch.path() / "tree");
  set_attribute(scratch.path() / "tree/one", "user.colour", std::string(300, 'b'));
  MakeOptions options;
  options.features = GENERATE("", "extents,inline_data,ea_inode");
  options.inode_size_bytes = 256;
  options.content = scratch.path() / "tree";
  const RealImage image(4096, options);
  const MemoryImage sound = image.load();
  const uint64_t table = number_after(image.dumpe2fs(), "Inode table at ") * 1024;
  const uint64_t root = number_after(image.debugfs("blocks /"), "") * 1024;
  uint32_t state = 7;
  size_t read_wholly = 0;
  for (int round = 0; round < 150; ++round) {
    MemoryImage bytes = sound;
    for (int flips = 0; flips < 6; ++flips) {
      state = state * 1664525 + 1013904223;
      const uint64_t offset = (state >> 8) % 6144;
      const uint64_t place = offset < 5120 ? table + 256 + offset : root + (offset - 5120);
      bytes.bytes(place, 1)[0] = std::byte(state >> 3);
    }
    const auto tree = read_bytes(bytes);
    if (!tree) {
      CHECK_THAT(tree.error().message, Catch::StartsWith("lower.img"));
      continue;
    }
    ++read_wholly;
    for (TreeFileId id = 0; id < tree->file_count(); ++id) {
      if (FileBytes* content = tree->file(id).content.get()) {
        std::vector<std::byte> some(std::min<uint64_t>(content->size_bytes(), 1 << 20));
        const auto result = content->read(0, some);
        CHECK((result || !result.error().message.empty()));
      }
    }
  }
  CHECK(read_wholly > 0);
}
