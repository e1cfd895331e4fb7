// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/upper_source.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/unit/sources/sample_directory.h"
#include "tests/unit/sources/tree_facts.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/overlay_fixture.h"
#include "tests/unit/support/real_image.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Makes an entry of the type 0 that names inode 0 one of the type, where its name is.
void mark_entry(MemoryImage& image, uint64_t block, const std::string& name, uint8_t type) {
  const ByteSpan bytes = image.bytes(block * 1024, 1024);
  for (size_t at = 0; at < 1024;) {
    const auto length =
        std::to_integer<size_t>(bytes[at + 4]) | std::to_integer<size_t>(bytes[at + 5]) << 8;
    const auto name_length = std::to_integer<size_t>(bytes[at + 6]);
    if (name == std::string(reinterpret_cast<char*>(&bytes[at + 8]), name_length)) {
      std::memset(&bytes[at], 0, 4);
      bytes[at + 7] = std::byte(type);
      return;
    }
    at += length;
  }
  FAIL("there is no entry " << name);
}

}  // namespace

TEST_CASE("whiteouts, fallthrus and opaque directories of the union patches", "[upper_source]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "file", "content");
  const RealImage image(4096, {});
  image.change({fmt::format("write {} file", (scratch.path() / "file").string()),
                fmt::format("write {} gone", (scratch.path() / "file").string()),
                fmt::format("write {} through", (scratch.path() / "file").string()),
                "link file same", "mkdir opaque", "set_inode_field opaque flags 0x04000000"});
  MemoryImage bytes = image.load();
  const uint64_t root = number_after(image.debugfs("blocks /"), "");
  mark_entry(bytes, root, "gone", 8);
  mark_entry(bytes, root, "through", 9);
  if (GENERATE(true, false)) {
    bytes.superblock().s_feature_incompat = bytes.superblock().s_feature_incompat | 0x20;
  }
  auto held = std::make_shared<MemoryImage>(bytes);
  const std::weak_ptr<MemoryImage> watched = held;
  {
    const FileTree tree = value_of(read_foreign_upper(std::move(held)));
    CHECK(content_of(tree, "file") == "content");
    CHECK(tree_name(tree, "same").file == tree_name(tree, "file").file);
    CHECK(tree_name(tree, "gone").mark == TreeMark::kWhiteout);
    CHECK(tree_name(tree, "through").mark == TreeMark::kFallthru);
    CHECK(tree_file(tree, "opaque").is_opaque);
    CHECK_FALSE(tree.root().is_opaque);
    CHECK_FALSE(has_path(tree, "lost+found"));
    CHECK_FALSE(watched.expired());
  }
  CHECK(watched.expired());
}

TEST_CASE("an upper directory of overlayfs that was packed into an image", "[upper_source]") {
  const ScratchDirectory scratch;
  const std::filesystem::path tree = scratch.path() / "tree";
  std::filesystem::create_directories(tree / "opaque");
  write_file(tree / "opaque/new", "new");
  if (mknod((tree / "deleted").c_str(), S_IFCHR, makedev(0, 0)) != 0 ||
      !set_attribute(tree / "opaque", "trusted.overlay.opaque", "y")) {
    WARN("whiteouts of overlayfs cannot be made here");
    return;
  }
  set_attribute(tree, "trusted.overlay.impure", "y");
  MakeOptions options;
  options.content = tree;
  options.inode_size_bytes = 256;
  options.features = GENERATE("", "extents,has_journal,metadata_csum");
  const RealImage image(8192, options);
  const FileTree read = value_of(read_foreign_upper(image.path().string()));
  CHECK(tree_name(read, "deleted").mark == TreeMark::kWhiteout);
  CHECK(tree_file(read, "opaque").is_opaque);
  CHECK(content_of(read, "opaque/new") == "new");
  CHECK(tree_file(read, "opaque").state.attributes.empty());
  CHECK(read.root().state.attributes.empty());
  CHECK_FALSE(read.root().is_opaque);
}

TEST_CASE("what is no foreign upper is refused", "[upper_source]") {
  const auto empty = std::make_shared<MemoryImage>("odd.img", std::vector<std::byte>(100));
  CHECK(expect_error(read_foreign_upper(empty), {"odd.img"}) == ErrorKind::kCorrupt);
  const auto bytes = std::make_shared<MemoryImage>(RealImage(4096, {}).load());
  bytes->superblock().s_state = 0;
  CHECK(expect_error(read_foreign_upper(bytes), {"lower.img", "e2fsck"}) ==
        ErrorKind::kUnsupported);
}

TEST_CASE("an upper of our own is no foreign one", "[upper_source]") {
  const Lower lower(small_image(1024));
  const std::shared_ptr<MemoryFile> upper = make_upper(lower, small_merged_size(1024));
  CHECK(expect_error(read_foreign_upper(upper), {"upper.img", "already"}) == ErrorKind::kInvalid);
}
