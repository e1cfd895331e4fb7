// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/owner_map.h"

#include <algorithm>

namespace unionfs {
namespace {

Owner owner_of(const Run& run, const StateArea& area) {
  switch (run.source) {
    case Source::kLower:
      return Owner::kLower;
    case Source::kUpper:
      return run.offset >= area.offset ? Owner::kState : Owner::kUpper;
    case Source::kSynthesizedFixed:
    case Source::kSynthesizedTranslated:
      return Owner::kSynthesized;
    case Source::kZero:
      break;
  }
  return Owner::kZero;
}

uint32_t index_of(const ReadableFile& file, std::vector<const ReadableFile*>& files) {
  const auto known = std::find(files.begin(), files.end(), &file);
  if (known == files.end()) {
    files.push_back(&file);
    return static_cast<uint32_t>(files.size() - 1);
  }
  return static_cast<uint32_t>(known - files.begin());
}

}  // namespace

bool has_place(Owner owner) {
  return owner == Owner::kLower || owner == Owner::kUpper || owner == Owner::kState;
}

OwnerMap make_owner_map(const MergedView& view, const StateArea& area) {
  OwnerMap map;
  map.block_size_bytes = view.block_size_bytes();
  map.block_count = view.size_bytes() / map.block_size_bytes;
  const BlockNumber end(map.block_count);
  std::vector<const ReadableFile*> files;
  for (BlockNumber block(0); block < end;) {
    const Run run = view.run_at(block, end);
    const Owner owner = owner_of(run, area);
    const uint64_t offset = has_place(owner) ? run.offset : 0;
    const uint32_t file = has_place(owner) ? index_of(*run.file, files) : 0;
    map.block_counts[static_cast<size_t>(owner)] += run.end - block;
    OwnedRange* last = map.ranges.empty() ? nullptr : &map.ranges.back();
    if (last != nullptr && last->owner == owner &&
        (!has_place(owner) ||
         (last->file == file &&
          last->file_offset + last->blocks.count() * map.block_size_bytes == offset))) {
      last->blocks.end = run.end;
    } else {
      map.ranges.push_back({owner, {block, run.end}, offset, file});
    }
    block = run.end;
  }
  for (const ReadableFile* file : files) {
    map.files.push_back(file->name());
  }
  return map;
}

}  // namespace unionfs
