// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/tree/file_tree.h"

#include <cstring>

#include "tests/unit/support/expect.h"
#include "tests/unit/support/open_image.h"
#include "tests/unit/support/test_files.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

TreeFileId add_file(FileTree& tree, TreeFileId directory, std::string_view name, uint16_t mode) {
  TreeFile file;
  file.state.mode = mode;
  const TreeFileId id = tree.add(std::move(file));
  tree.set_name(directory, name, id);
  return id;
}

TreeFileId add_directory(FileTree& tree, TreeFileId directory, std::string_view name) {
  return add_file(tree, directory, name, ext2::kModeDirectory | 0700);
}

TreeFileId add_regular(FileTree& tree, TreeFileId directory, std::string_view name,
                       uint16_t permissions = 0600) {
  return add_file(tree, directory, name, ext2::kModeRegular | permissions);
}

// "a/ a/b=600 a/.wh. !a": each name with what it says.
std::string shown(const FileTree& tree) {
  std::string text;
  expect_success(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    text += text.empty() ? "" : " ";
    if (visit.name.mark != TreeMark::kFile) {
      text += (visit.name.mark == TreeMark::kWhiteout ? "-" : "^") + visit.path;
      return {};
    }
    const TreeFile& file = tree.file(visit.name.file);
    text += fmt::format("{}{}{}:{:o}{}", file.is_opaque ? "!" : "", visit.path,
                        file.state.is_directory() ? "/" : "", file.state.permissions(),
                        visit.is_first_name ? "" : "*");
    return {};
  }));
  return text;
}

}  // namespace

TEST_CASE("a walk meets a directory before what is in it, and names by their bytes", "[tree]") {
  FileTree tree;
  const TreeFileId b = add_directory(tree, kTreeRoot, "b");
  const TreeFileId file = add_regular(tree, b, "z");
  tree.set_name(kTreeRoot, "\xc3", file);
  tree.set_name(kTreeRoot, "B", file);
  tree.set_mark(b, "gone", TreeMark::kWhiteout);
  CHECK(shown(tree) == "/:755 B:600 b/:700 -b/gone b/z:600* \xc3:600*");
}

TEST_CASE("a directory with two names ends a walk", "[tree]") {
  FileTree tree;
  tree.set_name(kTreeRoot, "again", add_directory(tree, kTreeRoot, "b"));
  const Result<void> walked = walk_tree(tree, [](const TreeVisit&) { return Result<void>(); });
  CHECK(expect_error(walked, {"b", "a directory with a second name"}) == ErrorKind::kInvalid);
}

TEST_CASE("a layer over a tree hides, removes and merges", "[tree]") {
  FileTree tree;
  const TreeFileId a = add_directory(tree, kTreeRoot, "a");
  add_regular(tree, a, "kept");
  add_regular(tree, a, "gone");
  add_regular(tree, kTreeRoot, "file");
  add_regular(tree, add_directory(tree, kTreeRoot, "opaque"), "hidden");
  FileTree layer;
  const TreeFileId above = add_file(layer, kTreeRoot, "a", ext2::kModeDirectory | 0711);
  layer.set_mark(above, "gone", TreeMark::kWhiteout);
  layer.set_mark(above, "never", TreeMark::kWhiteout);
  const TreeFileId linked = add_regular(layer, above, "new", 0640);
  layer.set_name(kTreeRoot, "link", linked);
  add_regular(layer, add_directory(layer, kTreeRoot, "file"), "below");
  layer.file(add_directory(layer, kTreeRoot, "opaque")).is_opaque = true;

  SECTION("at the bottom") {
    lay_over(tree, std::move(layer), false);
    CHECK(shown(tree) ==
          "/:755 a/:711 a/kept:600 a/new:640 file/:700 file/below:600 link:640* "
          "opaque/:700");
  }
  SECTION("with something below") {
    lay_over(tree, std::move(layer), true);
    CHECK(shown(tree) ==
          "/:755 a/:711 -a/gone a/kept:600 -a/never a/new:640 !file/:700 file/below:600 "
          "link:640* !opaque/:700");
  }
}

TEST_CASE("an opaque directory keeps what a fallthru names", "[tree]") {
  FileTree tree;
  const TreeFileId a = add_directory(tree, kTreeRoot, "a");
  add_regular(tree, a, "kept");
  add_regular(tree, a, "gone");
  FileTree layer;
  const TreeFileId above = add_directory(layer, kTreeRoot, "a");
  layer.file(above).is_opaque = true;
  layer.set_mark(above, "kept", TreeMark::kFallthru);
  layer.set_mark(above, "further", TreeMark::kFallthru);
  const bool keeps_marks = GENERATE(false, true);
  lay_over(tree, std::move(layer), keeps_marks);
  CHECK(shown(tree) ==
        (keeps_marks ? "/:755 !a/:700 ^a/further a/kept:600" : "/:755 a/:700 a/kept:600"));
}

TEST_CASE("a directory that nobody described leaves the state below it", "[tree]") {
  FileTree tree;
  add_directory(tree, kTreeRoot, "a");
  FileTree layer;
  const TreeFileId above = add_directory(layer, kTreeRoot, "a");
  layer.file(above).is_implied = true;
  add_regular(layer, above, "new");
  lay_over(tree, std::move(layer), false);
  CHECK(shown(tree) == "/:755 a/:700 a/new:600");
}

// ---- bytes ------------------------------------------------------------------------

namespace {

std::string all_of(FileBytes& bytes) {
  std::string text(bytes.size_bytes(), '?');
  expect_success(bytes.read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

std::vector<ByteRange> ranges_of(FileBytes& bytes) {
  std::vector<ByteRange> ranges;
  uint64_t offset = 0;
  while (const auto range = value_of(bytes.next_data(offset))) {
    ranges.push_back(*range);
    offset = range->end;
  }
  return ranges;
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::shared_ptr<MemoryFile> spool_of(std::string_view text) {
  auto file = std::make_shared<MemoryFile>("spool");
  expect_success(file->resize(text.size()));
  expect_success(file->write(0, bytes_of(text)));
  return file;
}

}  // namespace

TEST_CASE("stored pieces of a spool are what lies between zeros", "[tree]") {
  const auto file = spool_of("..abcdef");
  const auto bytes = bytes_of_spool(file, 2, {{1, 4}, {6, 9}}, 12);
  const std::string zero(1, '\0');
  CHECK(all_of(*bytes) == zero + "abc" + zero + zero + "def" + zero + zero + zero);
  CHECK(ranges_of(*bytes) == std::vector<ByteRange>{{1, 4}, {6, 9}});
  CHECK(value_of(bytes->next_data(2)) == ByteRange{2, 4});
}

TEST_CASE("files are compared by their bytes, whatever they store", "[tree]") {
  const std::string zeros(5, '\0');
  const auto file = spool_of("abc");
  const auto sparse = bytes_of_spool(file, 0, {{5, 8}}, 10);
  uint64_t compared = 0;
  CHECK(value_of(have_same_bytes(
      *sparse, *bytes_in_memory(bytes_of(zeros + "abc" + std::string(2, '\0'))), compared)));
  CHECK(!value_of(have_same_bytes(
      *sparse, *bytes_in_memory(bytes_of(zeros + "abd" + std::string(2, '\0'))), compared)));
  CHECK(!value_of(have_same_bytes(*sparse, *bytes_in_memory(bytes_of("abc")), compared)));
}

TEST_CASE("files share a block that both store, at its place", "[tree]") {
  uint64_t compared = 0;
  const auto share = [&compared](std::string_view one, std::string_view other) {
    return value_of(share_block(*bytes_in_memory(bytes_of(one)), *bytes_in_memory(bytes_of(other)),
                                4, compared));
  };
  CHECK(share("abcdefgh", "ABCDefgh"));
  CHECK(share("abcdefgh", "abcd"));
  CHECK(share("abcdefg", "ABCDefg"));
  CHECK(!share("abcdefgh", "efghabcd"));
  CHECK(!share("abcdefg", "ABCDefgh"));
  CHECK(!share("abcd", "abc"));
  CHECK(!share("", "abcd"));
  // What neither stores, or only one does, is no block of both.
  const auto one = bytes_of_spool(spool_of("abcdefgh"), 0, {{8, 12}, {20, 24}}, 32);
  const auto other = bytes_of_spool(spool_of("xxxxefgh"), 0, {{4, 8}, {20, 24}}, 32);
  const auto apart = bytes_of_spool(spool_of("abcdefgh"), 0, {{0, 4}, {12, 16}}, 32);
  CHECK(value_of(share_block(*one, *other, 4, compared)));
  CHECK(!value_of(share_block(*one, *apart, 4, compared)));
  // More than is read at once.
  const std::string many(size_t{600} << 10, 'a');
  std::string changed(many.size(), 'b');
  CHECK(!share(many, changed));
  changed.replace(changed.size() - 4, 4, "aaaa");
  CHECK(share(many, changed));
}

TEST_CASE("an inode's bytes are those that it maps, with holes of every level", "[tree]") {
  // Data in the direct blocks, below the second pointer of a double indirect block, and at
  // the end.
  const uint64_t far = (uint64_t{12} + 256 + 300) * 1024;
  const uint64_t end = (uint64_t{12} + 256 + 65536 + 5) * 1024;
  const RealImage real(8192, {});
  const std::string path = (real.directory() / "f").string();
  run({"bash", "-c",
       fmt::format(
           "printf abc >{0}; printf xyz | dd of={0} bs=1 seek={1} conv=notrunc status=none; "
           "printf 1 | dd of={0} bs=1 seek={2} conv=notrunc status=none",
           path, far, end)});
  real.change({"write " + path + " f"});
  const OpenImage image(real.load());
  const auto root = value_of(read_inode(image.volume, kRootDirectory));
  const auto entry = value_of(find_name(image.volume, root, "f"));
  REQUIRE(entry);
  const auto bytes = bytes_of_inode(image.volume, value_of(read_inode(image.volume, entry->inode)));
  CHECK(ranges_of(*bytes) == std::vector<ByteRange>{{0, 1024}, {far, far + 1024}, {end, end + 1}});
}
