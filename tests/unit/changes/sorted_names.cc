// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/sorted_names.h"

#include "tests/unit/support/expect.h"

using namespace unionfs;

namespace {

using Entries = std::vector<SortedNames::Entry>;

SortedNames names_of_entries(const Entries& entries) {
  SortedNames names;
  for (const auto& [name, inode] : entries) {
    names.add(name, inode);
  }
  names.shrink();
  return names;
}

}  // namespace

TEST_CASE("names are found by their bytes, and come in their order", "[sorted_names]") {
  const Entries entries = {{"a", InodeNumber(12)},
                           {"aa", InodeNumber(3)},
                           {"ab", InodeNumber(7)},
                           {std::string(255, 'b'), InodeNumber(3)},
                           {"\xff", InodeNumber(1)}};
  const SortedNames names = names_of_entries(entries);
  for (const auto& [name, inode] : entries) {
    INFO(name);
    CHECK((names.find(name) == inode));
  }
  for (const char* name : {"", "A", "aaa", "b", "c"}) {
    INFO(name);
    CHECK_FALSE(names.contains(name));
  }
  Entries seen;
  for (const auto& [name, inode] : names) {
    seen.emplace_back(name, inode);
  }
  CHECK((seen == entries));
  CHECK(names.size() == entries.size());
  CHECK((names.name_of(InodeNumber(3)) == "aa"));
  CHECK_FALSE(names.name_of(InodeNumber(2)).has_value());
}

TEST_CASE("names that lead elsewhere, or begin elsewhere, are others", "[sorted_names]") {
  const SortedNames names = names_of_entries({{"ab", InodeNumber(1)}, {"c", InodeNumber(2)}});
  CHECK((names == names_of_entries({{"ab", InodeNumber(1)}, {"c", InodeNumber(2)}})));
  CHECK_FALSE((names == names_of_entries({{"ab", InodeNumber(1)}, {"c", InodeNumber(3)}})));
  CHECK_FALSE((names == names_of_entries({{"a", InodeNumber(1)}, {"bc", InodeNumber(2)}})));
  CHECK_FALSE((names == names_of_entries({{"ab", InodeNumber(1)}})));
  CHECK_FALSE(SortedNames().contains(""));
}
