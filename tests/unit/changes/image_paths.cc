// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/image_paths.h"

#include "overlay/changes/image_tree.h"
#include "tests/unit/support/open_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

const OpenImage& image_with_paths() {
  static const OpenImage image([] {
    const ScratchDirectory tree;
    std::filesystem::create_directories(tree.path() / "a/b");
    write_file(tree.path() / "a/b/file", "content");
    write_file(tree.path() / "a/other", "other");
    std::filesystem::create_symlink("a/b", tree.path() / "short");
    std::filesystem::create_symlink("/a/b/../b/file", tree.path() / "a/b/absolute");
    std::filesystem::create_symlink("../../../../a/other", tree.path() / "a/b/above");
    std::filesystem::create_symlink("loop", tree.path() / "loop");
    MakeOptions options;
    options.content = tree.path();
    return RealImage(2048, options).load();
  }());
  return image;
}

InodeNumber followed(const std::string& path) {
  return value_of(follow_path(image_with_paths().volume, path));
}

InodeNumber found(const std::string& path) {
  return value_of(find_path(image_with_paths().volume, path));
}

std::string names_in(const FileTree& tree) {
  std::string text;
  expect_success(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    const TreeFile& file = tree.file(visit.name.file);
    text += fmt::format("{}{}{}", text.empty() ? "" : " ", file.is_implied ? "?" : "",
                        visit.path.empty() ? "/" : visit.path);
    return {};
  }));
  return text;
}

}  // namespace

TEST_CASE("Paths: links are followed as in a root directory of one's own", "[image_paths]") {
  const InodeNumber file = found("/a/b/file");
  CHECK(followed("a/b/file") == file);
  CHECK(followed("/short/file") == file);
  CHECK(followed("/a/b/absolute") == file);
  CHECK(followed("/short/absolute/") == file);
  CHECK(followed("/short/../other") == found("/a/other"));
  CHECK(followed("/short/above") == found("a/other"));
  CHECK(followed("../../a//./b/file") == file);
  CHECK(followed("/") == kRootDirectory);
  CHECK(found("/short") != found("/a/b"));
}

TEST_CASE("Paths: what is not there, and what leads nowhere", "[image_paths]") {
  const Volume& image = image_with_paths().volume;
  CHECK(expect_error(follow_path(image, "/loop"), {"loop", "40 symlinks"}) == ErrorKind::kInvalid);
  for (const char* path : {"/none", "/a/b/file/below", "/short/none"}) {
    CHECK(expect_error(follow_path(image, path), {"no such file"}) == ErrorKind::kInvalid);
  }
  for (const char* path : {"/short/file", "/a/../a/other", ".."}) {
    CHECK(expect_error(find_path(image, path), {"no such file"}) == ErrorKind::kInvalid);
  }
}

TEST_CASE("Paths: a walk has them in the order of their bytes", "[image_paths]") {
  std::string text;
  expect_success(walk_image(image_with_paths().volume, "/", kRootDirectory,
                            [&](const ImageVisit& visit) -> Result<void> {
                              text += visit.path + " ";
                              return {};
                            }));
  CHECK(text == "/ /a /a/b /a/b/above /a/b/absolute /a/b/file /a/other /loop /lost+found /short ");
}

TEST_CASE("Paths: a tree of some has the directories on the way", "[image_paths]") {
  const Volume& image = image_with_paths().volume;
  CHECK(names_in(value_of(tree_of_paths(image, {"/a/other", "a/b/file"}))) ==
        "?/ ?a ?a/b a/b/file a/other");
  CHECK(names_in(value_of(tree_of_paths(image, {"/a/b/file", "/a/b"}))) ==
        "?/ ?a a/b a/b/above a/b/absolute a/b/file");
  CHECK(names_in(value_of(tree_of_paths(image, {}))) ==
        "/ a a/b a/b/above a/b/absolute a/b/file a/other loop lost+found short");
  CHECK(expect_error(tree_of_paths(image, {"/short/file"}), {"short", "link to", "a/b"}) ==
        ErrorKind::kInvalid);
  CHECK(expect_error(tree_of_paths(image, {"/a/none"}), {"no such file"}) == ErrorKind::kInvalid);
}
