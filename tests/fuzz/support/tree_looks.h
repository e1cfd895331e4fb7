// SPDX-License-Identifier: BSD-3-Clause
//
// What a tree that was read of a hostile image must be like, whatever the image is.
#ifndef UNIONFS_TESTS_FUZZ_SUPPORT_TREE_LOOKS_H
#define UNIONFS_TESTS_FUZZ_SUPPORT_TREE_LOOKS_H

#include <cstddef>

#include "overlay/tree/file_tree.h"

namespace unionfs::fuzzing {

// Neither files nor names are more than bytes of the image; contents say the same in whole and in
// part, their ranges are in order, and what lies between these and behind the end is zeros.
void look_at_tree(const FileTree& tree, size_t image_bytes);

}  // namespace unionfs::fuzzing

#endif  // UNIONFS_TESTS_FUZZ_SUPPORT_TREE_LOOKS_H
