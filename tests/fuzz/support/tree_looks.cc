// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/tree_looks.h"

#include <algorithm>
#include <vector>

#include "tests/fuzz/support/invariant.h"

namespace unionfs::fuzzing {
namespace {

constexpr uint64_t kMostRead = uint64_t{1} << 20;  // of a file, which may be large and empty

std::vector<std::byte> read_part(FileBytes& content, uint64_t offset, size_t length) {
  // What is not filled is found.
  std::vector<std::byte> bytes(length, std::byte(0xa5));
  if (!went_well(content.read(offset, bytes))) {
    return {};
  }
  return bytes;
}

// Ranges ascend inside the file, and between them there are zeros.
void expect_right_ranges(FileBytes& content) {
  const uint64_t size = content.size_bytes();
  uint64_t offset = 0;
  for (size_t count = 0; offset < size; ++count) {
    const auto range = content.next_data(offset);
    if (!went_well(range)) {
      return;
    }
    const uint64_t begin = *range ? (*range)->begin : size;
    if (begin < offset || begin > size || (*range && (*range)->end <= begin) ||
        (*range && (*range)->end > size) || count > size) {
      broken("ranges of a file are out of order");
    }
    const auto hole = read_part(content, offset, std::min(begin - offset, uint64_t{65536}));
    if (!all_zeros(hole)) {
      broken("a hole holds something");
    }
    offset = *range ? (*range)->end : size;
  }
}

void look_at_content(FileBytes& content) {
  expect_right_ranges(content);
  const size_t length = std::min(content.size_bytes(), kMostRead);
  const std::vector<std::byte> whole = read_part(content, 0, length);
  if (whole.empty()) {
    return;
  }
  const size_t middle = length / 3;
  const std::vector<std::byte> part = read_part(content, middle, length - middle);
  if (!same_bytes(part, ConstByteSpan(whole).subspan(middle))) {
    broken("a part of a file reads as something else than the whole");
  }
  if (!all_zeros(read_part(content, content.size_bytes(), 64))) {
    broken("there is something behind the end of a file");
  }
}

}  // namespace

void look_at_tree(const FileTree& tree, size_t image_bytes) {
  if (tree.file_count() > image_bytes) {
    broken("there are more files than bytes");
  }
  size_t names = 0;
  wanted(walk_tree(tree, [&](const TreeVisit& visit) -> Result<void> {
    if (++names > image_bytes + 1) {
      broken("there are more names than bytes");
    }
    if (visit.name.mark == TreeMark::kFile) {
      const TreeFile& file = tree.file(visit.name.file);
      if (file.content != nullptr && visit.is_first_name) {
        look_at_content(*file.content);
      }
    }
    return {};
  }));
}

}  // namespace unionfs::fuzzing
