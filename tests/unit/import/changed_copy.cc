// SPDX-License-Identifier: BSD-3-Clause
//
// The comparison of an import where the tree is a changed copy of the lower, so that its inode
// numbers count.
#include <catch2/catch.hpp>

#include "tests/unit/import/import_fixture.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

// A copy of the lower as its image is read: numbers are the lower's, and directories say all.
HandMadeTree copy_of_lower() {
  HandMadeTree copy = tree_of_lower();
  copy.tree.root().is_opaque = true;
  for (const char* path : kLowerPaths) {
    TreeFile& file = copy.file(path);
    file.state.inode = lower_base().inode(path).number();
    file.is_opaque = file.state.is_directory();
  }
  return copy;
}

void drop(HandMadeTree& tree, std::string_view directory, std::string_view name) {
  std::map<std::string, TreeName, std::less<>>& names = tree.file(directory).names;
  names.erase(names.find(name));
}

void swap_names(HandMadeTree& tree, std::string_view one, std::string_view other) {
  std::map<std::string, TreeName, std::less<>>& names = tree.tree.root().names;
  std::swap(names.find(one)->second, names.find(other)->second);
}

void check_copies(const std::vector<ImportRow>& rows) {
  for (const ImportRow& row : rows) {
    HandMadeTree copy = copy_of_lower();
    row.make(copy);
    check_import_row(row, lower_base(), copy, {.are_inodes_of_lower = true});
  }
}

}  // namespace

TEST_CASE("Import: a changed copy of the lower", "[import]") {
  check_copies({
      {"nothing", [](HandMadeTree&) {}, "",
       "0 added, 0 changed, 11 unchanged, 0 removed, 0 missing"},
      {"a renamed file",
       [](HandMadeTree& copy) {
         copy.hard_link("moved", "file");
         drop(copy, "", "file");
       },
       "/file: gone; /moved: file", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"a file renamed and changed",
       [](HandMadeTree& copy) {
         copy.file("file").content = bytes_in_memory({std::byte{'1'}});
         copy.hard_link("d/moved", "file");
         drop(copy, "", "file");
       },
       "/d/moved: file content; /file: gone",
       "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
      {"a renamed directory",
       [](HandMadeTree& copy) {
         copy.hard_link("moved", "d");
         drop(copy, "", "d");
       },
       "/d: gone; /moved: d", "1 added, 0 changed, 10 unchanged, 1 removed, 0 missing"},
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
