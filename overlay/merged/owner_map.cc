// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/owner_map.h"

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

}  // namespace

bool has_place(Owner owner) {
  return owner == Owner::kLower || owner == Owner::kUpper || owner == Owner::kState;
}

OwnerMap make_owner_map(const MergedView& view, const StateArea& area) {
  OwnerMap map;
  map.block_size_bytes = view.block_size_bytes();
  map.block_count = view.size_bytes() / map.block_size_bytes;
  const BlockNumber end(map.block_count);
  for (BlockNumber block(0); block < end;) {
    const Run run = view.run_at(block, end);
    const Owner owner = owner_of(run, area);
    const uint64_t offset = has_place(owner) ? run.offset : 0;
    map.block_counts[static_cast<size_t>(owner)] += run.end - block;
    OwnedRange* last = map.ranges.empty() ? nullptr : &map.ranges.back();
    if (last != nullptr && last->owner == owner &&
        (!has_place(owner) ||
         last->file_offset + last->blocks.count() * map.block_size_bytes == offset)) {
      last->blocks.end = run.end;
    } else {
      map.ranges.push_back({owner, {block, run.end}, offset});
    }
    block = run.end;
  }
  return map;
}

}  // namespace unionfs
