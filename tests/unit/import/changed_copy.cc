// SPDX-License-Identifier: BSD-3-Clause
//
// The comparison of an import where the tree is a changed copy of the lower, so that its inode
// numbers count.
#include <span>
#include <utility>

#include <catch2/catch.hpp>

#include "tests/unit/import/import_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// Makes the generations of an image 0, as they are in one of mke2fs.
void clear_generations(const MadeBase& base, std::span<const char* const> paths) {
  for (const char* path : paths) {
    run({"debugfs", "-w", "-R", fmt::format("set_inode_field /{} generation 0", path),
         base.path().string()});
    REQUIRE(base.inode(path).raw().i_generation == 0U);
  }
}

// The same as lower_base(), with the same numbers.
const MadeBase& base_without_generations() {
  static const MadeBase made(tree_of_lower().tree, base_of_inodes(256));
  static const bool is_cleared = (clear_generations(made, kLowerPaths), true);
  REQUIRE(is_cleared);
  return made;
}

// A copy of the lower as its image is read: numbers are the lower's, and directories say all.
HandMadeTree copy_of(const MadeBase& base) {
  HandMadeTree copy = tree_of_lower();
  copy.tree.root().is_opaque = true;
  for (const char* path : kLowerPaths) {
    TreeFile& file = copy.file(path);
    const InodeRecord record = base.inode(path);
    file.state.inode = record.number();
    file.state.generation = record.raw().i_generation;
    file.is_opaque = file.state.is_directory();
  }
  return copy;
}

void drop(HandMadeTree& tree, std::string_view directory, std::string_view name) {
  std::map<std::string, TreeName, std::less<>>& names = tree.file(directory).names;
  names.erase(names.find(name));
}

// Takes a file with one name, in the root, away; its number is free then.
InodeNumber free_number(HandMadeTree& copy, std::string_view name) {
  const InodeNumber number = std::exchange(copy.file(name).state.inode, InodeNumber(0));
  drop(copy, "", name);
  return number;
}

// A generation that no file of the lower has.
constexpr uint32_t kDrawnGeneration = 7;

// The file gets this number: by a kernel, which draws a generation, or by debugfs, which does not.
void give_out(TreeFile& file, InodeNumber number, uint32_t generation = kDrawnGeneration) {
  file.state.inode = number;
  file.state.generation = generation;
}

using ChangeCopy = decltype(ImportRow::make);

// A file with one name, in the root, is removed, and its number is given to the one that `make`
// makes.
ChangeCopy reuse_number(const char* name, TreeFile& (*make)(HandMadeTree&),
                        uint32_t generation = kDrawnGeneration) {
  return [=](HandMadeTree& copy) {
    const InodeNumber number = free_number(copy, name);
    give_out(make(copy), number, generation);
  };
}

ChangeCopy move_name(const char* name, const char* to) {
  return [=](HandMadeTree& copy) {
    copy.hard_link(to, name);
    drop(copy, "", name);
  };
}

void swap_names(HandMadeTree& tree, std::string_view one, std::string_view other) {
  std::map<std::string, TreeName, std::less<>>& names = tree.tree.root().names;
  std::swap(names.find(one)->second, names.find(other)->second);
}

void check_copies(const std::vector<ImportRow>& rows, const MadeBase& base = lower_base()) {
  for (const ImportRow& row : rows) {
    HandMadeTree copy = copy_of(base);
    row.make(copy);
    check_import_row(row, base, copy, {.are_inodes_of_lower = true});
  }
}

}  // namespace

TEST_CASE("Import: a changed copy of the lower", "[import]") {
  check_copies({
      {"nothing", [](HandMadeTree&) {}, "",
       "0 added, 0 changed, 11 unchanged, 0 removed, 0 missing"},
      {"a renamed file", move_name("file", "moved"), "/file: gone; /moved: file",
       "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"a file renamed and changed",
       [](HandMadeTree& copy) {
         copy.file("file").content = bytes_in_memory({std::byte{'1'}});
         copy.hard_link("d/moved", "file");
         drop(copy, "", "file");
       },
       "/d/moved: file content; /file: gone",
       "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"a renamed directory", move_name("d", "moved"), "/d: gone; /moved: d",
       "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"two files changed names", [](HandMadeTree& copy) { swap_names(copy, "file", "other"); },
       "/file: other; /other: file", "0 added, 2 changed, 9 unchanged, 0 removed, 0 missing"},
      {"a file on a number that nobody had",
       [](HandMadeTree& copy) { copy.regular("new", "one").state.inode = InodeNumber(1000); },
       "/new: new", "1 added, 0 changed, 11 unchanged, 0 removed, 0 missing"},
      {"a file on the number of a directory that is gone",
       [](HandMadeTree& copy) {
         drop(copy, "", "directory");
         copy.regular("new").state.inode = lower_base().inode("directory").number();
       },
       "/directory: gone; /new: new", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"one name of two, changed for both",
       [](HandMadeTree& copy) {
         copy.file("linked").content = bytes_in_memory({std::byte{'3'}});
         drop(copy, "", "again");
       },
       "/again: gone; /linked: linked content",
       "0 added, 1 changed, 9 unchanged, 1 removed, 0 missing"},
      {"a file written anew over another",
       [](HandMadeTree& copy) { copy.file("file").state.inode = InodeNumber(1000); }, "",
       "0 added, 0 changed, 11 unchanged, 0 removed, 0 missing"},
  });
}

TEST_CASE("Import: a number of the copy that was given out again", "[import]") {
  check_copies({
      {"to a file",
       reuse_number("other",
                    [](HandMadeTree& copy) -> TreeFile& { return copy.regular("new", "six"); }),
       "/new: new; /other: gone", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"to a file of the same bytes",
       reuse_number("other",
                    [](HandMadeTree& copy) -> TreeFile& { return copy.regular("new", "two"); }),
       "/new: new; /other: gone", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"to a symlink",
       reuse_number("sym",
                    [](HandMadeTree& copy) -> TreeFile& { return copy.symlink("new", "file"); }),
       "/new: new; /sym: gone", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"to a device",
       reuse_number("device",
                    [](HandMadeTree& copy) -> TreeFile& {
                      return copy.special("new", ext2::kModeCharDevice | 0600, 1, 3);
                    }),
       "/device: gone; /new: new", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"to a file of two names",
       [](HandMadeTree& copy) {
         const InodeNumber number = free_number(copy, "other");
         give_out(copy.regular("new", "six"), number);
         copy.hard_link("more", "new");
       },
       "/more: new; /new: new; /other: gone",
       "2 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"to a file of the old name: it is changed in place",
       reuse_number("other",
                    [](HandMadeTree& copy) -> TreeFile& { return copy.regular("other", "six"); }),
       "/other: other content", "0 added, 1 changed, 10 unchanged, 0 removed, 0 missing"},
      {"while another file has taken the old name",
       [](HandMadeTree& copy) {
         const InodeNumber number = free_number(copy, "other");
         give_out(copy.regular("other", "six"), InodeNumber(1000));
         give_out(copy.regular("new", "seven"), number);
       },
       "/new: new; /other: other content",
       "1 added, 1 changed, 10 unchanged, 0 removed, 0 missing"},
      {"to a directory",
       reuse_number("directory",
                    [](HandMadeTree& copy) -> TreeFile& { return copy.directory("new"); }),
       "/directory: gone; /new: new", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"to a directory of the old name",
       [](HandMadeTree& copy) {
         const InodeNumber number = free_number(copy, "d");
         TreeFile& made = copy.directory("d");
         give_out(made, number);
         made.is_opaque = true;
         give_out(copy.regular("d/file", "FOUR"), lower_base().inode("d/file").number());
       },
       "/d/e: gone; /d/file: d/file content",
       "0 added, 1 changed, 8 unchanged, 1 removed, 0 missing"},
  });
}

TEST_CASE("Import: numbers of a copy without generations", "[import]") {
  check_copies(
      {
          {"a file renamed, with other permissions",
           [](HandMadeTree& copy) {
             copy.file("file").state.mode = 0100600;
             copy.hard_link("d/moved", "file");
             drop(copy, "", "file");
           },
           "/d/moved: file metadata; /file: gone",
           "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
          {"a renamed directory", move_name("d", "moved"), "/d: gone; /moved: d",
           "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
          {"a hard link more of a changed file",
           [](HandMadeTree& copy) {
             copy.file("file").content = bytes_in_memory({std::byte{'1'}});
             copy.hard_link("more", "file");
           },
           "/file: file content; /more: file content",
           "1 added, 1 changed, 10 unchanged, 0 removed, 0 missing"},
          {"a number given out to a file born at another time",
           [](HandMadeTree& copy) {
             const InodeNumber number = free_number(copy, "other");
             TreeFile& file = copy.regular("new", "two");
             give_out(file, number, 0);
             file.state.created = {1700000000, 0};
           },
           "/new: new; /other: gone", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
          {"a number given out to a file of other bytes",
           reuse_number(
               "other", [](HandMadeTree& copy) -> TreeFile& { return copy.regular("new", "six"); },
               0),
           "/new: new; /other: gone", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
          {"a number given out to a symlink with another target",
           reuse_number(
               "sym", [](HandMadeTree& copy) -> TreeFile& { return copy.symlink("new", "other"); },
               0),
           "/new: new; /sym: gone", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
          {"a number given out to a device of other numbers",
           reuse_number(
               "device",
               [](HandMadeTree& copy) -> TreeFile& {
                 return copy.special("new", ext2::kModeCharDevice | 0600, 1, 5);
               },
               0),
           "/device: gone; /new: new", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
          {"a number given out to a directory without generation and birth, which has nothing of "
           "the old one",
           [](HandMadeTree& copy) {
             const InodeNumber number = free_number(copy, "d");
             give_out(copy.directory("new"), number, 0);
             give_out(copy.regular("new/file", "four"), InodeNumber(1000));
           },
           "/d: gone; /new: new; /new/file: new",
           "2 added, 0 changed, 7 unchanged, 1 removed, 0 missing"},
      },
      base_without_generations());
}

TEST_CASE("Import: a directory of the copy on another number, while the lower's has moved",
          "[import]") {
  check_copies({
      {"its names go with it",
       [](HandMadeTree& copy) {
         copy.hard_link("moved", "d");
         drop(copy, "", "d");
         give_out(copy.directory("d"), InodeNumber(1000));
         give_out(copy.regular("d/file", "six"), InodeNumber(1001));
       },
       "/d: new; /d/file: new; /moved: d",
       "2 added, 1 changed, 10 unchanged, 0 removed, 0 missing"},
      {"it stays the lower's where that one has gone",
       [](HandMadeTree& copy) { copy.file("d").state.inode = InodeNumber(1000); }, "",
       "0 added, 0 changed, 11 unchanged, 0 removed, 0 missing"},
  });
}

TEST_CASE("Import: one block of a file that moved proves what it is", "[import]") {
  constexpr uint32_t kBlocks = 5;
  const std::string bytes = noise(kBlocks * 4096, 3);
  HandMadeTree made;
  made.regular("big", bytes);
  const MadeBase base(made.tree, base_of_inodes(128));
  clear_generations(base, std::array{"big"});
  for (const uint32_t kept : {0U, 1U, kBlocks - 1}) {
    INFO(kept << " blocks stay");
    HandMadeTree copy;
    copy.tree.root().is_opaque = true;
    const std::string other = noise(kBlocks * 4096, 4);
    copy.regular("moved", bytes.substr(0, size_t{kept} * 4096) + other.substr(size_t{kept} * 4096));
    copy.file("moved").state.inode = base.inode("big").number();
    const PlannedImport planned =
        value_of(plan_import(copy.tree, base.volume(), {.are_inodes_of_lower = true}));
    REQUIRE(planned.plan.names.size() == 2);
    const PlannedName& name = planned.plan.names.rbegin()->second;
    REQUIRE(name.path == "/moved");
    CHECK(planned.plan.files.at(*name.file).existing.has_value() == (kept != 0));
  }
}
