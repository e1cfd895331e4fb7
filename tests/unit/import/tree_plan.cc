// SPDX-License-Identifier: BSD-3-Clause
//
// The comparison of an import: trees in memory over a small lower, and which plan becomes of each.
#include "overlay/import/tree_plan.h"

#include <catch2/catch.hpp>

#include "overlay/import/import_tree.h"
#include "overlay/merged/lower_image.h"
#include "tests/unit/import/import_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

void check_layers(const std::vector<ImportRow>& rows) {
  for (const ImportRow& row : rows) {
    HandMadeTree layer;
    row.make(layer);
    check_import_row(row, lower_base(), layer, {});
  }
}

// Of a tree that cannot be imported at all.
std::string refusal_of(const HandMadeTree& layer, std::optional<uint64_t> size_bytes = {}) {
  const ScratchDirectory scratch;
  const std::filesystem::path copy = scratch.path() / "lower";
  std::filesystem::copy_file(lower_base().path(), copy);
  const auto file = value_of(PosixFile::open(copy.string(), FileLock::kShared));
  const auto lower = value_of(LowerImage::open(*file));
  const auto target = value_of(PosixFile::create_for((scratch.path() / "upper").string()));
  TreeImportOptions options;
  options.size_bytes = size_bytes;
  const LogSink quiet = [](const std::string&) {};
  const std::atomic<bool> never{false};
  const auto outcome = import_tree(layer.tree, *lower, *target, options,
                                   "11111111-2222-3333-4444-555555555555", quiet, quiet, never);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().kind == ErrorKind::kUnsupported);
  return outcome.error().message;
}

}  // namespace

TEST_CASE("Import: files of a layer", "[import]") {
  check_layers({
      {"nothing", [](HandMadeTree&) {}, "",
       "0 added, 0 changed, 0 unchanged, 0 removed, 0 missing"},
      {"the same file", [](HandMadeTree& layer) { layer.regular("file", "one"); }, "",
       "0 added, 0 changed, 1 unchanged, 0 removed, 0 missing"},
      {"another file", [](HandMadeTree& layer) { layer.regular("more", "one"); }, "/more: new",
       "1 added, 0 changed, 0 unchanged, 0 removed, 0 missing"},
      {"other bytes, as many", [](HandMadeTree& layer) { layer.regular("file", "ONE"); },
       "/file: file content", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"more bytes", [](HandMadeTree& layer) { layer.regular("file", "one and"); },
       "/file: file content", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"zeros behind the same bytes",
       [](HandMadeTree& layer) { layer.regular("file", std::string("one\0", 4)); },
       "/file: file content", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"permissions",
       [](HandMadeTree& layer) { layer.regular("file", "one").state.mode = 0100600; },
       "/file: file metadata", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"an owner", [](HandMadeTree& layer) { layer.regular("file", "one").state.user_id = 0; },
       "/file: file metadata", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"a nanosecond",
       [](HandMadeTree& layer) { ++layer.regular("file", "one").state.modified.nanoseconds; },
       "/file: file metadata", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"an attribute",
       [](HandMadeTree& layer) {
         layer.regular("file", "one").state.attributes = {user_attribute("colour", "blue")};
       },
       "/file: file metadata", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"a flag", [](HandMadeTree& layer) { layer.regular("file", "one").state.user_flags = 0x40; },
       "/file: file metadata", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"times that do not count",
       [](HandMadeTree& layer) {
         FileState& state = layer.regular("file", "one").state;
         state.accessed = state.changed = {1700000000, 0};
       },
       "", "0 added, 0 changed, 1 unchanged, 0 removed, 0 missing"},
      {"both", [](HandMadeTree& layer) { layer.regular("file", "ONE").state.mode = 0100600; },
       "/file: file content metadata", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"a target", [](HandMadeTree& layer) { layer.symlink("sym", "other"); }, "/sym: sym content",
       "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"numbers of a device",
       [](HandMadeTree& layer) { layer.special("device", ext2::kModeCharDevice | 0600, 1, 5); },
       "/device: device content", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"in a directory that nobody described",
       [](HandMadeTree& layer) {
         layer.directory("d").is_implied = true;
         layer.regular("d/file", "FOUR");
       },
       "/d/file: d/file content", "0 added, 1 changed, 1 unchanged, 0 removed, 0 missing"},
  });
}

TEST_CASE("Import: hard links of a layer", "[import]") {
  check_layers({
      {"one of two names, changed", [](HandMadeTree& layer) { layer.regular("linked", "THREE"); },
       "/linked: new", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"one of two names, the same", [](HandMadeTree& layer) { layer.regular("again", "three"); },
       "", "0 added, 0 changed, 1 unchanged, 0 removed, 0 missing"},
      {"both names, changed",
       [](HandMadeTree& layer) {
         layer.regular("linked", "THREE");
         layer.hard_link("again", "linked");
       },
       "/again: linked content; /linked: linked content",
       "0 added, 2 changed, 0 unchanged, 0 removed, 0 missing"},
      {"two files of the one",
       [](HandMadeTree& layer) {
         layer.regular("linked", "THREE");
         layer.regular("again", "three");
       },
       "/linked: new", "0 added, 1 changed, 1 unchanged, 0 removed, 0 missing"},
      {"one file of two",
       [](HandMadeTree& layer) {
         layer.regular("file", "one");
         layer.hard_link("other", "file");
       },
       "/file: file; /other: file", "0 added, 1 changed, 1 unchanged, 0 removed, 0 missing"},
      {"a name more",
       [](HandMadeTree& layer) {
         layer.regular("file", "one");
         layer.hard_link("more", "file");
       },
       "/file: file; /more: file", "1 added, 0 changed, 1 unchanged, 0 removed, 0 missing"},
      {"a name more, and changed",
       [](HandMadeTree& layer) {
         layer.regular("file", "ONE");
         layer.hard_link("more", "file");
       },
       "/file: file content; /more: file content",
       "1 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
  });
}

TEST_CASE("Import: another type in a layer", "[import]") {
  check_layers({
      {"a file became a symlink", [](HandMadeTree& layer) { layer.symlink("file", "other"); },
       "/file: new", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"a symlink became a directory", [](HandMadeTree& layer) { layer.directory("sym"); },
       "/sym: new", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"a directory became a file", [](HandMadeTree& layer) { layer.regular("d", "six"); },
       "/d: new", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
      {"a character device became a block device",
       [](HandMadeTree& layer) { layer.special("device", ext2::kModeBlockDevice | 0600, 1, 3); },
       "/device: new", "0 added, 1 changed, 0 unchanged, 0 removed, 0 missing"},
  });
}

TEST_CASE("Import: what a layer deletes", "[import]") {
  check_layers({
      {"a file",
       [](HandMadeTree& layer) { layer.tree.set_mark(kTreeRoot, "file", TreeMark::kWhiteout); },
       "/file: gone", "0 added, 0 changed, 0 unchanged, 1 removed, 0 missing"},
      {"a directory with all in it",
       [](HandMadeTree& layer) { layer.tree.set_mark(kTreeRoot, "d", TreeMark::kWhiteout); },
       "/d: gone", "0 added, 0 changed, 0 unchanged, 1 removed, 0 missing"},
      {"what is not there",
       [](HandMadeTree& layer) { layer.tree.set_mark(kTreeRoot, "more", TreeMark::kWhiteout); }, "",
       "0 added, 0 changed, 0 unchanged, 0 removed, 1 missing"},
      {"all in a directory", [](HandMadeTree& layer) { layer.directory("d").is_opaque = true; },
       "/d/e: gone; /d/file: gone", "0 added, 0 changed, 1 unchanged, 2 removed, 0 missing"},
      {"all but one",
       [](HandMadeTree& layer) {
         layer.directory("d").is_opaque = true;
         layer.regular("d/file", "four");
       },
       "/d/e: gone", "0 added, 0 changed, 2 unchanged, 1 removed, 0 missing"},
      {"all but a fallthru",
       [](HandMadeTree& layer) {
         layer.directory("d").is_opaque = true;
         layer.tree.set_mark(layer.id_of("d"), "e", TreeMark::kFallthru);
       },
       "/d/file: gone", "0 added, 0 changed, 1 unchanged, 1 removed, 0 missing"},
      {"all of the root, but lost+found",
       [](HandMadeTree& layer) { layer.tree.root().is_opaque = true; },
       "/again: gone; /d: gone; /device: gone; /directory: gone; /file: gone; /linked: gone; "
       "/other: gone; /sym: gone",
       "0 added, 0 changed, 0 unchanged, 8 removed, 0 missing"},
      {"a directory, and another in its place",
       [](HandMadeTree& layer) {
         layer.directory("d", 0700).is_opaque = true;
         layer.regular("d/new", "six");
       },
       "/d: d metadata; /d/e: gone; /d/file: gone; /d/new: new",
       "1 added, 1 changed, 0 unchanged, 2 removed, 0 missing"},
  });
}

TEST_CASE("Import: parts of seconds that the lower cannot keep are no change", "[import]") {
  const HandMadeTree tree = tree_of_lower();
  const MadeBase base(tree.tree, base_of_inodes(128));
  HandMadeTree layer;
  layer.regular("file", "one");
  CHECK(value_of(plan_import(layer.tree, base.volume(), {})).plan.names.empty());
  ++layer.file("file").state.modified.seconds;
  CHECK(value_of(plan_import(layer.tree, base.volume(), {})).plan.names.size() == 1);
}

TEST_CASE("Import: a directory that nobody described replaces nothing", "[import]") {
  for (const char* name : {"sym", "file"}) {
    INFO(name);
    HandMadeTree layer;
    layer.directory(name).is_implied = true;
    layer.regular(std::string(name) + "/new", "six");
    const auto planned = plan_import(layer.tree, lower_base().volume(), {});
    REQUIRE_FALSE(planned);
    CHECK(planned.error().kind == ErrorKind::kInvalid);
    CHECK_THAT(planned.error().message, Catch::Contains(std::string("/") + name));
  }
}

TEST_CASE("Import: only what is equal is read to its end", "[import]") {
  HandMadeTree layer;
  layer.regular("file", "one");
  layer.regular("other", "longer");
  CHECK(value_of(plan_import(layer.tree, lower_base().volume(), {})).figures.bytes_compared ==
        3 + 3);
}

TEST_CASE("Import: what the merged image cannot hold", "[import]") {
  HandMadeTree large;
  large.regular("file", noise(1 << 20, 1));
  CHECK_THAT(refusal_of(large, lower_base().facts().size_bytes),
             Catch::Contains("cannot hold it") && Catch::Contains("blocks"));
  HandMadeTree late;
  late.regular("file", "one").state.modified = {int64_t{1} << 40, 0};
  CHECK_THAT(refusal_of(late), Catch::Contains("/file"));
  HandMadeTree described;
  described.regular("file", "one").state.attributes = {user_attribute("colour", noise(5000, 2))};
  CHECK_THAT(refusal_of(described), Catch::Contains("/file"));
}
