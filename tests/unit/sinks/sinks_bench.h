// SPDX-License-Identifier: BSD-3-Clause
//
// Trees by hand, and streams into memory.
#ifndef UNIONFS_TESTS_UNIT_SINKS_SINKS_BENCH_H
#define UNIONFS_TESTS_UNIT_SINKS_SINKS_BENCH_H

#include <string>
#include <string_view>

#include "overlay/sinks/output_stream.h"
#include "overlay/tree/file_tree.h"
#include "tests/unit/support/expect.h"
#include "tests/unit/support/real_image.h"

namespace unionfs::testing {

class MemoryStream final : public OutputStream {
 public:
  Result<void> add(ConstByteSpan bytes) override {
    largest_add = std::max(largest_add, bytes.size());
    if (text.size() + bytes.size() > limit) {
      return system_failure(ENOSPC, "memory");
    }
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }

  std::string text;
  size_t limit = size_t{1} << 30;
  size_t largest_add = 0;
};

inline std::vector<std::byte> to_bytes(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

struct TreeWriter {
  TreeFileId add(TreeFileId directory, std::string_view name, uint16_t mode) {
    TreeFile file;
    file.state.mode = mode;
    file.state.links_count = 1;
    const TreeFileId id = tree.add(std::move(file));
    tree.set_name(directory, name, id);
    return id;
  }
  TreeFileId directory(TreeFileId directory, std::string_view name, uint16_t permissions = 0755) {
    return add(directory, name, ext2::kModeDirectory | permissions);
  }
  TreeFileId regular(TreeFileId directory, std::string_view name, std::string_view content,
                     uint16_t permissions = 0644) {
    const TreeFileId id = add(directory, name, ext2::kModeRegular | permissions);
    TreeFile& file = tree.file(id);
    file.content = bytes_in_memory(to_bytes(content));
    file.state.size_bytes = content.size();
    return id;
  }
  FileState& state(TreeFileId id) { return tree.file(id).state; }

  FileTree tree;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SINKS_SINKS_BENCH_H
