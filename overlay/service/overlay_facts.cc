// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Overlay that says what its levels are.
#include "overlay/service/overlay.h"

namespace unionfs {

Overlay::SeenLevels Overlay::levels_under(const Disk* disk) const {
  // A new upper is void where the level below has a session.
  const bool is_void = disk != nullptr ? disk->is_void() : chain_->frozen_view() != nullptr;
  SeenLevels levels;
  levels.below = facts_of_levels(*chain_, is_void);
  if (disk != nullptr && !is_void) {
    levels.own_blocks = disk->layer().layer().own_blocks().count();
  }
  return levels;
}

OverlayFacts Overlay::facts() const {
  const LookLock seen(seen_mutex_);
  return seen_facts();
}

OverlayFacts Overlay::seen_facts() const {
  OverlayFacts facts;
  facts.size_bytes = size_bytes();
  facts.block_size_bytes = block_size_bytes_;
  if (seen_disk_ != nullptr) {
    facts.has_failed = seen_disk_->has_failed();
    facts.session = seen_disk_->session_size();
  }
  if (seen_file_ != nullptr) {
    const Result<HostSpace> space = seen_file_->space();
    facts.upper = space ? std::optional(*space) : std::nullopt;
  }
  return facts;
}

std::vector<LevelFacts> Overlay::level_facts() const {
  const LookLock seen(seen_mutex_);
  const OverlayFacts now = seen_facts();
  LevelFacts upper;
  upper.kind = LevelKind::kUpper;
  upper.name = options_.upper_path;
  upper.merged_size_bytes = now.size_bytes;
  if (now.upper) {
    upper.disk_bytes = now.upper->used_bytes;
  }
  if (now.session) {
    upper.written_blocks = now.session->blocks;
  }
  upper.own_blocks = seen_levels_.own_blocks;
  std::vector<LevelFacts> levels = seen_levels_.below;
  levels.push_back(std::move(upper));
  return levels;
}

}  // namespace unionfs
