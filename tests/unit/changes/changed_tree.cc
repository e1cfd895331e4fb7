// SPDX-License-Identifier: BSD-3-Clause
//
// What a layer is as files with marks.
#include "overlay/changes/changed_tree.h"

#include "tests/unit/changes/plan_bench.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

struct ChangedFiles {
  MadeLayer layer;
  FileTree tree;
};

ChangedFiles changed(const PlanImages& images, const Plan& plan) {
  ChangedFiles changed{make_layer(images, plan), {}};
  const LayerOverLower& layer = *changed.layer.layer;
  const Volume& merged = changed.layer.volume();
  changed.tree = value_of(
      changed_tree({images.image(), merged, layer.upper(), value_of(changes_of(layer, merged))}));
  return changed;
}

// "/ a/ a/b -a/gone !c/ d*": each name, a whiteout, an opaque directory, and a further link.
std::string shown(const FileTree& tree) {
  std::string text = tree.root().is_implied ? "(/)" : "";
  expect_success(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    if (visit.path.empty()) {
      return {};
    }
    text += text.empty() ? "" : " ";
    if (visit.name.mark != TreeMark::kFile) {
      text += "-" + visit.path;
      return {};
    }
    const TreeFile& file = tree.file(visit.name.file);
    text += fmt::format("{}{}{}{}", file.is_opaque ? "!" : "", visit.path,
                        file.state.is_directory() ? "/" : "", visit.is_first_name ? "" : "*");
    return {};
  }));
  return text;
}

std::string content_of(const FileTree& tree, TreeFileId directory, const char* name) {
  const TreeFile& file = tree.file(tree.find(directory, name)->file);
  std::string text(file.content->size_bytes(), '?');
  expect_success(file.content->read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace

TEST_CASE("Changed tree: a layer that changes nothing has nothing", "[changed_tree]") {
  const PlanImages images = images_of();
  CHECK(shown(changed(images, PlanWriter(images).plan).tree) == "(/)");
}

TEST_CASE("Changed tree: a file is whole, with the directories on its way", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.give_content(writer.existing("/a/inner/file"), "/new");
  writer.state(writer.existing("/second")).mode ^= 0100;
  const ChangedFiles found = changed(images, writer.plan);
  CHECK(shown(found.tree) == "a/ a/inner/ a/inner/file second");
  const TreeFileId a = found.tree.find(kTreeRoot, "a")->file;
  const TreeFileId inner = found.tree.find(a, "inner")->file;
  CHECK(content_of(found.tree, inner, "file") == content_at(images.source(), "/new"));
  CHECK(content_of(found.tree, kTreeRoot, "second") == "second\n");
  CHECK(found.tree.file(a).state.attributes ==
        value_of(file_state_of(images.image(), inode_at(images.image(), "/a"))).attributes);
}

TEST_CASE("Changed tree: a whiteout stands for all that was below", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.remove("/old");
  writer.remove("/a/in_a");
  CHECK(shown(changed(images, writer.plan).tree) == "a/ -a/in_a -old");
}

TEST_CASE("Changed tree: a directory that moved is a whiteout and a copy", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.put("/a/older", writer.existing("/old"));
  writer.remove("/old");
  writer.remove_in(writer.existing("/old/kept"), "file");
  CHECK(shown(changed(images, writer.plan).tree) == "a/ a/older/ a/older/gone a/older/kept/ -old");
}

TEST_CASE("Changed tree: directories that changed places are opaque", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const PlannedFileId old = writer.existing("/old");
  writer.put("/old", writer.existing("/a"));
  writer.put("/a", old);
  CHECK(shown(changed(images, writer.plan).tree) ==
        "!a/ a/gone a/kept/ a/kept/file !old/ old/in_a old/inner/ old/inner/deep/ old/inner/file");
}

TEST_CASE("Changed tree: another type needs no whiteout", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.put("/old", writer.copy_of("/link"));
  writer.put("/second", writer.directory_like("/directory"));
  CHECK(shown(changed(images, writer.plan).tree) == "old second/");
}

TEST_CASE("Changed tree: a new link brings the file's other names", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.put("/a/more", writer.existing("/small"));
  const ChangedFiles found = changed(images, writer.plan);
  CHECK(shown(found.tree) == "a/ a/more b/ b/thrice* small* twice*");
  CHECK(content_of(found.tree, kTreeRoot, "twice") == "small\n");
}

TEST_CASE("Changed tree: a name less leaves the file's other names alone", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.remove("/twice");
  CHECK(shown(changed(images, writer.plan).tree) == "-twice");
}

TEST_CASE("Changed tree: links out of a directory that moved are searched for", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  writer.put("/c", writer.existing("/b"));
  writer.remove("/b");
  CHECK(shown(changed(images, writer.plan).tree) == "-b c/ c/in_b c/other/ c/thrice small* twice*");
}

TEST_CASE("Changed tree: a directory made anew is compared by names", "[changed_tree]") {
  const PlanImages images = images_of();
  PlanWriter writer(images);
  const PlannedFileId made = writer.directory_like("/directory");
  writer.put("/old", made);
  writer.put_in(made, "kept", writer.copy_of("/new"));
  const std::string found = shown(changed(images, writer.plan).tree);
  CHECK((found == "old/ -old/gone old/kept" || found == "!old/ old/kept"));
}
