// SPDX-License-Identifier: BSD-3-Clause
//
// What does not fit into a base, and what does by a byte.
#include <functional>

#include "tests/unit/base/hand_made_tree.h"
#include "tests/unit/support/test_files.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Nothing was written.
ErrorKind expect_refused(const FileTree& tree, const BaseOptions& options,
                         std::initializer_list<std::string> parts) {
  MemoryFile out("base.img");
  const Result<BaseFacts> made = make_base(tree, out, options);
  CHECK(out.count(FileOperation::kWrite) == 0);
  CHECK(out.size_bytes() == 0);
  return expect_error(made, parts);
}

HandMadeTree tree_of(const std::function<void(HandMadeTree&)>& fill) {
  HandMadeTree tree;
  tree.directory("d");
  fill(tree);
  return tree;
}

void fill_with_directories(HandMadeTree& tree, size_t count) {
  for (size_t index = 0; index < count; ++index) {
    tree.directory(fmt::format("d/{}", index));
  }
}

void fill_with_links(HandMadeTree& tree, size_t count) {
  tree.regular("d/0", "one file");
  for (size_t index = 1; index < count; ++index) {
    tree.hard_link(fmt::format("d/{}", index), "d/0");
  }
}

BaseOptions small_blocks() {
  BaseOptions options;
  options.block_size_bytes = 1024;
  options.inode_size_bytes = 128;
  return options;
}

}  // namespace

TEST_CASE("options that make no image are refused", "[base]") {
  BaseOptions options;
  options.block_size_bytes = 8192;
  expect_refused(FileTree(), options, {"block size of 8192 bytes"});
  options.block_size_bytes = 1024;
  options.inode_size_bytes = 2048;
  expect_refused(FileTree(), options, {"inode size of 2048 bytes", "the block size 1024"});
  options.inode_size_bytes = 192;
  expect_refused(FileTree(), options, {"inode size of 192 bytes"});
  options = {};
  options.inode_ratio_bytes = 1023;
  expect_refused(FileTree(), options, {"inode ratio of 1023 bytes"});
  options = {};
  options.label = "seventeen letters";
  expect_refused(FileTree(), options, {"seventeen letters", "17 bytes", "16"});
}

TEST_CASE("a size is kept, or refused with one that is enough", "[base]") {
  HandMadeTree tree;
  tree.regular("file", noise(3000000, 1));
  BaseOptions options;
  options.size_bytes = 4 << 20;
  CHECK(expect_refused(tree.tree, options, {"4194304 bytes is too small", "are enough"}) ==
        ErrorKind::kInvalid);
  options.size_bytes = 0;
  expect_refused(tree.tree, options, {"too small"});
  options.size_bytes = uint64_t{1} << 45;
  expect_refused(tree.tree, options, {"is more than"});
  options.size_bytes = (100 << 20) + 4095;
  CHECK(MadeBase(tree.tree, options).facts().size_bytes == 100 << 20);
  // The second group has no room for its metadata, so it goes.
  options.size_bytes = (128 << 20) + 40960;
  CHECK(MadeBase(tree.tree, options).facts().size_bytes == 128 << 20);
}

TEST_CASE("as many inodes as the files need", "[base]") {
  HandMadeTree tree;
  for (int index = 0; index < 700; ++index) {
    tree.regular(fmt::format("{}", index));
  }
  BaseOptions options = small_blocks();
  options.inode_ratio_bytes = uint64_t{1} << 20;
  const MadeBase base(tree.tree, options);
  base.check_holds(tree.tree);
  CHECK(base.facts().inode_count >= 711);
  CHECK(base.facts().inode_count < 1000);
}

TEST_CASE("names that no directory can have are refused", "[base]") {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a\0b", 3),
        std::string("a/b"), std::string(256, 'n')}) {
    HandMadeTree tree;
    const TreeFileId file = tree.id_of("");
    TreeFile regular;
    regular.state.mode = ext2::kModeRegular;
    tree.tree.set_name(file, name, tree.tree.add(regular));
    expect_refused(tree.tree, {}, {"name"});
  }
}

TEST_CASE("marks of a layer are refused", "[base]") {
  HandMadeTree tree;
  tree.directory("d");
  tree.tree.set_mark(tree.id_of("d"), "gone", TreeMark::kWhiteout);
  CHECK(expect_refused(tree.tree, {}, {"\"d/gone\"", "whiteout"}) == ErrorKind::kInvalid);
  tree.tree.set_mark(tree.id_of("d"), "gone", TreeMark::kFallthru);
  expect_refused(tree.tree, {}, {"\"d/gone\"", "fallthru"});
}

TEST_CASE("symlinks and devices that do not fit are refused", "[base]") {
  const auto with_target = [](size_t length) {
    return tree_of([&](HandMadeTree& tree) { tree.symlink("d/link", std::string(length, 't')); });
  };
  expect_refused(with_target(0).tree, {}, {"\"d/link\"", "leads to no name"});
  expect_refused(with_target(1024).tree, small_blocks(), {"\"d/link\"", "1024", "1023"});
  MadeBase(with_target(1023).tree, small_blocks()).check_holds(with_target(1023).tree);
  const auto device = [](uint32_t major, uint32_t minor) {
    return tree_of(
        [&](HandMadeTree& tree) { tree.special("d/device", ext2::kModeCharDevice, major, minor); });
  };
  expect_refused(device(4096, 0).tree, {}, {"\"d/device\"", "4096:0"});
  expect_refused(device(0, 1 << 20).tree, {}, {"\"d/device\"", "0:1048576"});
  const HandMadeTree unknown =
      tree_of([](HandMadeTree& tree) { tree.special("d/unknown", 0x3000); });
  expect_refused(unknown.tree, {}, {"\"d/unknown\"", "of a kind that ext2 has not"});
}

TEST_CASE("dates that an inode cannot hold are refused", "[base]") {
  const auto with_time = [](FileTime time) {
    return tree_of([&](HandMadeTree& tree) { tree.regular("d/file").state.modified = time; });
  };
  expect_refused(with_time({int64_t{1} << 31, 0}).tree, small_blocks(),
                 {"\"d/file\"", "2147483648"});
  MadeBase(with_time({(int64_t{1} << 31) - 1, 0}).tree, small_blocks());
  const HandMadeTree far = with_time({(int64_t{1} << 33) + 5, 999999999});
  MadeBase(far.tree, {}).check_holds(far.tree);
  const HandMadeTree old = with_time({-(int64_t{1} << 31), 1});
  MadeBase(old.tree, {}).check_holds(old.tree);
  expect_refused(with_time({-(int64_t{1} << 31) - 1, 0}).tree, {}, {"\"d/file\""});
  expect_refused(with_time({int64_t{1} << 34, 0}).tree, {}, {"\"d/file\""});
  expect_refused(with_time({0, 1000000000}).tree, {}, {"\"d/file\""});
}

TEST_CASE("a file too large for the block size is refused", "[base]") {
  const auto with_size = [](uint64_t size) {
    return tree_of([&](HandMadeTree& tree) {
      tree.regular("d/file", sparse_bytes({{size - 1, size}}, size));
    });
  };
  // 12 blocks and what one, two and three levels of 256 pointers lead to.
  constexpr uint64_t kMost = (12 + 256 + 256 * 256 + 256 * 256 * 256) * uint64_t{1024};
  expect_refused(with_size(kMost + 1).tree, small_blocks(), {"\"d/file\"", "17247252480"});
  MadeBase(with_size(kMost).tree, small_blocks()).check_holds(with_size(kMost).tree);
  const HandMadeTree large = with_size(uint64_t{2} << 40);
  expect_refused(large.tree, {}, {"\"d/file\"", "blocks of 4096 bytes"});
  const HandMadeTree fits = with_size(uint64_t{2000} << 30);
  MadeBase(fits.tree, {}).check_holds(fits.tree);
}

TEST_CASE("a file has 65000 names at most, and a directory 64998 directories", "[base]") {
  const HandMadeTree links = tree_of([](HandMadeTree& tree) { fill_with_links(tree, 65001); });
  expect_refused(links.tree, {}, {"\"d/", "more than 65000 names"});
  const HandMadeTree directories =
      tree_of([](HandMadeTree& tree) { fill_with_directories(tree, 64999); });
  expect_refused(directories.tree, {}, {"\"d/", "more than 64998 directories"});
  const HandMadeTree most = tree_of([](HandMadeTree& tree) { fill_with_links(tree, 65000); });
  const MadeBase base(most.tree, {});
  CHECK(base.inode("d/1").raw().i_links_count == 65000U);
}

TEST_CASE("attributes fill the inode, then a block, and no more", "[base]") {
  const auto with_attributes = [](size_t first, size_t second) {
    return tree_of([&](HandMadeTree& tree) {
      tree.regular("d/file").state.attributes = {user_attribute("a", std::string(first, 'a')),
                                                 user_attribute("b", std::string(second, 'b'))};
    });
  };
  // The inode has 96 bytes: magic and end mark 8, each name 20.  The block has 4096: header 32,
  // end mark 4, name 20.
  const HandMadeTree in_inode = with_attributes(24, 24);
  MadeBase small(in_inode.tree, {});
  small.check_holds(in_inode.tree);
  CHECK(small.inode("d/file").file_acl().is_none());
  const HandMadeTree full = with_attributes(4040, 68);
  MadeBase both(full.tree, {});
  both.check_holds(full.tree);
  CHECK_FALSE(both.inode("d/file").file_acl().is_none());
  const HandMadeTree other_way = with_attributes(68, 4040);
  MadeBase(other_way.tree, {}).check_holds(other_way.tree);
  expect_refused(with_attributes(4041, 68).tree, {}, {"\"d/file\"", "extended attributes"});
  expect_refused(with_attributes(4040, 69).tree, {}, {"\"d/file\"", "extended attributes"});
}
