// SPDX-License-Identifier: BSD-3-Clause
//
// A small lower, and in words what a plan for it says.
#ifndef UNIONFS_TESTS_UNIT_IMPORT_IMPORT_FIXTURE_H
#define UNIONFS_TESTS_UNIT_IMPORT_IMPORT_FIXTURE_H

#include <array>
#include <functional>
#include <string>

#include "overlay/import/tree_plan.h"
#include "tests/unit/base/hand_made_tree.h"

namespace unionfs::testing {

inline constexpr std::array kLowerPaths = {"file",      "other",  "linked", "sym", "device",
                                           "directory", "d/file", "d",      "d/e", "d/e/deep"};

// What all layers here lie over.  "linked" and "again" are one file.
HandMadeTree tree_of_lower();
BaseOptions base_of_inodes(uint32_t inode_size_bytes);
const MadeBase& lower_base();

struct ImportRow {
  const char* name;
  std::function<void(HandMadeTree& layer)> make;
  const char* plan;
  const char* figures;
};

// The plan for `base` and its figures are those of the row.
void check_import_row(const ImportRow& row, const MadeBase& base, const HandMadeTree& layer,
                      const ImportRules& rules);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_IMPORT_IMPORT_FIXTURE_H
