// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/sources/directory_source.h"

#include <unistd.h>

#include "tests/unit/sources/sources_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Of a tree of files with these attributes: what an overlay's upper directory would be.
Result<FileTree> upper_of(const std::vector<TarEntry>& entries) {
  TarTest test;
  FileTree tree = value_of(test.read(tar_of(entries)));
  const auto applied = apply_overlayfs_marks(tree, "upper");
  if (!applied) {
    return Failure(applied.error());
  }
  return tree;
}

TarEntry with(TarEntry entry, const std::string& attribute, const std::string& value) {
  entry.pax.emplace_back("SCHILY.xattr." + attribute, value);
  return entry;
}

const std::string& host_path(const ScratchDirectory& scratch) {
  return scratch.path().native();
}

}  // namespace

TEST_CASE("a directory of the host becomes a tree", "[directory]") {
  const ScratchDirectory scratch;
  run_in(scratch,
         "umask 022; mkdir -m 750 d e; printf hello >d/a; ln d/a b; ln -s /etc/passwd link; mkfifo "
         "-m 600 p\n"
         "truncate -s 1M d/hole; printf x | dd of=d/hole bs=1 seek=65536 conv=notrunc status=none\n"
         "touch $'odd\\n\\xff'; chmod 4711 d/a; find . -exec touch -h -d @1000.123456789 {} +\n");
  TarTest test;
  const FileTree tree = value_of(read_directory(host_path(scratch), test.context));
  const std::string owner = fmt::format(" {}:{} 1000.123456789", ::getuid(), ::getgid());
  const std::string hole = "d/hole file 0644" + owner;
  const std::string text = tree_text(tree);
  CHECK_THAT(text, Catch::Contains("b file 4711" + owner + " 5 bytes 0+5:hello\n"));
  CHECK_THAT(text,
             Catch::Contains("d dir 0750" + owner + "\nd/a = b\n" + hole + " 1048576 bytes "));
  CHECK_THAT(text, Catch::Contains("link link 0777" + owner + " -> /etc/passwd\n"));
  CHECK_THAT(text, Catch::Contains("odd\\x0a\\xff file 0644" + owner + "\n"));
  CHECK_THAT(text, Catch::Contains("p fifo 0600" + owner + "\n"));
  CHECK_THAT(text, Catch::Contains("/ dir 0700" + owner + "\n"));

  const auto file = tree.find(tree.find(kTreeRoot, "d")->file, "hole");
  FileBytes& bytes = *tree.file(file->file).content;
  const auto data = value_of(bytes.next_data(0));
  REQUIRE(data.has_value());
  CHECK(data->begin <= 65536);
  CHECK(data->end > 65536);
  std::byte byte;
  expect_success(bytes.read(65536, {&byte, 1}));
  CHECK(byte == std::byte{'x'});
  expect_success(bytes.read(1 << 20, {&byte, 1}));
  CHECK(byte == std::byte{0});
}

TEST_CASE("attributes of the host come as ext2 has them", "[directory]") {
  const ScratchDirectory scratch;
  write_file(scratch.path() / "a", "x");
  try {
    run({"setfattr", "-n", "user.colour", "-v", "red", (scratch.path() / "a").native()});
  } catch (const std::exception&) {
    return;  // this file system has none
  }
  TarTest test;
  CHECK_THAT(tree_text(value_of(read_directory(host_path(scratch), test.context))),
             Catch::Contains(" user.colour=red\n"));
}

TEST_CASE("a file that changes after the directory was read is an error", "[directory]") {
  for (const char* change : {"echo more >>a", "rm a; printf xx >a", "rm a; ln -s /etc/passwd a",
                             "rm a", "rm a; mkfifo a", "touch -d @5 a"}) {
    const ScratchDirectory scratch;
    write_file(scratch.path() / "a", "xx");
    TarTest test;
    const FileTree tree = value_of(read_directory(host_path(scratch), test.context));
    FileBytes& bytes = *tree.file(tree.find(kTreeRoot, "a")->file).content;
    run_in(scratch, change);
    std::byte byte;
    expect_error(bytes.read(0, {&byte, 1}), {host_path(scratch), "\"a\""});
  }
}

TEST_CASE("directories have limits, too", "[directory]") {
  const ScratchDirectory scratch;
  run_in(scratch, "mkdir d; touch d/{1,2,3,4,5}");
  TarTest test;
  test.context.limits.entries = 5;
  CHECK(expect_error(read_directory(host_path(scratch), test.context),
                     {host_path(scratch), "more than 5 entries"}) == ErrorKind::kUnsupported);
  TarTest other;
  expect_error(read_directory(host_path(scratch) + "/none", other.context), {"/none"});
  expect_error(read_directory(host_path(scratch) + "/d/1", other.context), {"/d/1"});
}

// ---- overlayfs -------------------------------------------------------------------------

TEST_CASE("marks of overlayfs become those of the tree", "[overlayfs]") {
  for (const std::string prefix : {"trusted.overlay.", "user.overlay."}) {
    CHECK(tree_text(value_of(
              upper_of({with({"./", kDirectory, "", "", 0755}, prefix + "origin", "o"),
                        {"gone", kCharDevice},
                        {"gone2", kHardLink, "", "gone"},
                        with({"new/", kDirectory, "", "", 0700}, prefix + "opaque", "y"),
                        with({"new/locked", '0', "l"}, prefix + "protattr", "ai"),
                        with({"x/", kDirectory, "", "", 0700}, prefix + "opaque", "x"),
                        with({"x/w"}, prefix + "whiteout", ""),
                        with({"x/full", '0', "no mark"}, prefix + "whiteout", ""),
                        with({"w"}, prefix + "whiteout", ""),
                        with({"nested/", kDirectory, "", "", 0700}, prefix + "overlay.opaque", "y"),
                        with(with({"kept"}, prefix + "nlink", "1"), "user.colour", "red")}))) ==
          "/ dir 0755 0:0 1000.000000000\n"
          "gone whiteout\n"
          "gone2 whiteout\n"
          "kept file 0644 0:0 1000.000000000 user.colour=red\n"
          "nested dir 0700 0:0 1000.000000000 " +
              prefix +
              "opaque=y\n"
              "new dir 0700 0:0 1000.000000000 opaque\n"
              "new/locked file 0644 0:0 1000.000000000 flags 0x30 1 bytes 0+1:l\n"
              "w file 0644 0:0 1000.000000000\n"
              "x dir 0700 0:0 1000.000000000\n"
              "x/full file 0644 0:0 1000.000000000 7 bytes 0+7:no mark\n"
              "x/w whiteout\n");
  }
}

TEST_CASE("what an upper directory does not say itself is refused with the reason", "[overlayfs]") {
  const auto refused = [](const TarEntry& entry, std::initializer_list<std::string> parts) {
    CHECK(expect_error(upper_of({entry}), parts) == ErrorKind::kUnsupported);
  };
  refused(with({"d/e/", kDirectory}, "trusted.overlay.redirect", "/old"),
          {"upper", "\"d/e\"", "\"/old\"", "redirect_dir=off"});
  refused(with({"a"}, "user.overlay.metacopy", ""), {"upper", "\"a\"", "metacopy=off"});
  refused(with({"d/", kDirectory}, "trusted.overlay.opaque", "z"), {"\"d\"", "opaque", "\"z\""});
  refused(with({"a"}, "trusted.overlay.news", "1"), {"\"a\"", "overlay.news"});
}

TEST_CASE("an overlay's upper directory of the host is read with its marks", "[overlayfs]") {
  const ScratchDirectory scratch;
  run_in(scratch, "mkdir d; touch d/kept");
  const std::string directory = (scratch.path() / "d").native();
  try {
    run({"setfattr", "-n", "user.overlay.opaque", "-v", "y", directory});
  } catch (const std::exception&) {
    return;  // this file system has none
  }
  TarTest test;
  const FileTree tree = value_of(read_overlayfs_directory(host_path(scratch), test.context));
  CHECK(tree.file(tree.find(kTreeRoot, "d")->file).is_opaque);
  CHECK(test.warnings.empty());
}

// ---- fuse-overlayfs --------------------------------------------------------------------

TEST_CASE("marks of fuse-overlayfs become those of the tree", "[overlayfs]") {
  TarTest test;
  FileTree tree = value_of(
      test.read(tar_of({{".wh.gone"},
                        {".wh.both"},
                        {"both", '0', "hidden"},
                        {"opaque/", kDirectory, "", "", 0700},
                        {"opaque/.wh..wh..opq"},
                        {"opaque/.wh..opq", kCharDevice},
                        with({"told/", kDirectory, "", "", 0700}, "user.fuseoverlayfs.opaque", "y"),
                        with({"kept", '0', "k"}, "user.fuseoverlayfs.origin", "old"),
                        {".wh.full", '0', "no mark"},
                        {".wh..wh.plnk"},
                        {".wh.directory/", kDirectory, "", "", 0700}})));
  const FuseOverlayFigures figures = value_of(apply_fuse_overlayfs_marks(tree, "upper"));
  CHECK(figures.names == 3);
  CHECK(figures.has_attributes);
  CHECK(tree_text(tree) ==
        "/ implied\n"
        ".wh..wh.plnk file 0644 0:0 1000.000000000\n"
        ".wh.directory dir 0700 0:0 1000.000000000\n"
        ".wh.full file 0644 0:0 1000.000000000 7 bytes 0+7:no mark\n"
        "both whiteout\n"
        "gone whiteout\n"
        "kept file 0644 0:0 1000.000000000 1 bytes 0+1:k\n"
        "opaque dir 0700 0:0 1000.000000000 opaque\n"
        "told dir 0700 0:0 1000.000000000 opaque\n");
}

TEST_CASE("owners that fuse-overlayfs keeps in attributes are refused", "[overlayfs]") {
  for (const char* attribute :
       {"user.fuseoverlayfs.override_stat", "user.containers.override_stat"}) {
    TarTest test;
    FileTree tree = value_of(test.read(tar_of({with({"a"}, attribute, "0:0:100644")})));
    CHECK(expect_error(apply_fuse_overlayfs_marks(tree, "upper"),
                       {"upper", "\"a\"", attribute, "tar"}) == ErrorKind::kUnsupported);
  }
}
