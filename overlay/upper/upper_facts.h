// SPDX-License-Identifier: BSD-3-Clause
//
// What an upper says of itself, without its lower.
#ifndef UNIONFS_OVERLAY_UPPER_UPPER_FACTS_H
#define UNIONFS_OVERLAY_UPPER_UPPER_FACTS_H

#include <cstdint>

#include "overlay/host/file.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

struct UpperFacts {
  uint64_t merged_size_bytes = 0;
  uint32_t block_size_bytes = 0;
  StateArea area;
  bool has_journal = false;  // a checkpoint is committed, but not home

  // The layer.
  uint64_t own_inodes = 0;
  uint64_t own_directories = 0;
  uint64_t own_blocks = 0;
  uint64_t own_names = 0;
  uint64_t fallthrus = 0;
  uint64_t whiteouts = 0;
  uint64_t opaque_directories = 0;
  uint64_t block_whiteouts = 0;
  uint64_t inode_whiteouts = 0;
  uint64_t translated_blocks = 0;

  // The session.
  uint64_t written_blocks = 0;
};

// Writes nothing.
Result<UpperFacts> read_upper_facts(const ReadableFile& upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_UPPER_FACTS_H
