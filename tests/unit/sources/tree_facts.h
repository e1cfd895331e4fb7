// SPDX-License-Identifier: BSD-3-Clause
//
// What a tree of files says, for tests: by path, and held against a directory of the host.
#ifndef UNIONFS_TESTS_UNIT_SOURCES_TREE_FACTS_H
#define UNIONFS_TESTS_UNIT_SOURCES_TREE_FACTS_H

#include <filesystem>
#include <string>
#include <string_view>

#include "overlay/tree/file_tree.h"

namespace unionfs::testing {

// What the path leads to; a failed test if nothing.  "": the root.
const TreeName& tree_name(const FileTree& tree, std::string_view path);
const TreeFile& tree_file(const FileTree& tree, std::string_view path);
bool has_path(const FileTree& tree, std::string_view path);

// The bytes of a regular file; a failed test if what it says to be stored is less.
std::string content_of(const TreeFile& file);
std::string content_of(const FileTree& tree, std::string_view path);

// mkfs.jffs2 gives a directory the time of what is in it.
enum class ComparedTimes { kSecondsOfFiles, kSeconds, kNanoseconds };

// Names, kinds, modes, owners, times of modification, contents, targets, devices, hard links and
// attributes are those of the directory, and there is nothing else.  Of the root nothing but its
// names counts, because not all images keep more of it.
void expect_as_directory(const FileTree& tree, const std::filesystem::path& directory,
                         ComparedTimes times);

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SOURCES_TREE_FACTS_H
