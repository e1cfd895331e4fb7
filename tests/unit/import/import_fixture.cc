// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/import/import_fixture.h"

#include <catch2/catch.hpp>

namespace unionfs::testing {

HandMadeTree tree_of_lower() {
  HandMadeTree made;
  made.regular("file", "one");
  made.regular("other", "two");
  made.regular("linked", "three");
  made.hard_link("again", "linked");
  made.symlink("sym", "file");
  made.special("device", ext2::kModeCharDevice | 0600, 1, 3);
  made.directory("directory");
  made.directory("d");
  made.regular("d/file", "four");
  made.directory("d/e");
  made.regular("d/e/deep", "five");
  return made;
}

BaseOptions base_of_inodes(uint32_t inode_size_bytes) {
  BaseOptions options;
  options.inode_size_bytes = inode_size_bytes;
  return options;
}

const MadeBase& lower_base() {
  static const MadeBase made(tree_of_lower().tree, base_of_inodes(256));
  return made;
}

namespace {

bool is_same_state(const FileState& one, const FileState& other) {
  return one.mode == other.mode && one.user_id == other.user_id && one.group_id == other.group_id &&
         one.user_flags == other.user_flags && one.modified == other.modified &&
         one.attributes == other.attributes;
}

// "new", or which file of the lower it is and what of it changes.
std::string text_of(const PlannedFile& file, const MadeBase& base) {
  if (!file.existing) {
    return "new";
  }
  std::string text = "unknown";
  for (const char* path : kLowerPaths) {
    text = base.inode(path).number() == *file.existing ? path : text;
  }
  const FileState present = value_of(file_state_of(base.volume(), *file.existing));
  return text + (file.content ? " content" : "") +
         (is_same_state(file.state, present) ? "" : " metadata");
}

std::string text_of(const Plan& plan, const MadeBase& base) {
  std::map<std::string, std::string> lines;
  for (const auto& [key, name] : plan.names) {
    lines[name.path] = name.file ? text_of(plan.files.at(*name.file), base) : "gone";
  }
  std::string text;
  for (const auto& [path, line] : lines) {
    text += (text.empty() ? "" : "; ") + path + ": " + line;
  }
  return text;
}

std::string text_of(const ImportFigures& figures) {
  return fmt::format("{} added, {} changed, {} unchanged, {} removed, {} missing", figures.added,
                     figures.changed, figures.unchanged, figures.removed, figures.missing);
}

}  // namespace

void check_import_row(const ImportRow& row, const MadeBase& base, const HandMadeTree& layer,
                      const ImportRules& rules) {
  INFO(row.name);
  const PlannedImport planned = value_of(plan_import(layer.tree, base.volume(), rules));
  CHECK(text_of(planned.plan, base) == row.plan);
  CHECK(text_of(planned.figures) == row.figures);
}

}  // namespace unionfs::testing
