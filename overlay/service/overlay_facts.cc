// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Overlay that says what its levels are.
#include "overlay/service/overlay.h"

namespace unionfs {

void Overlay::note_levels() {
  const auto* loaded = std::get_if<LoadedUpper>(&state_);
  // A new upper is void where the level below has a session.
  const bool is_void =
      loaded != nullptr ? loaded->disk->is_void() : chain_->frozen_view() != nullptr;
  std::vector<LevelFacts> below = facts_of_levels(*chain_, is_void);
  std::optional<uint64_t> own_blocks;
  if (loaded != nullptr && !is_void) {
    own_blocks = loaded->disk->layer().layer().own_blocks().count();
  }
  const ChangeLock seen(seen_mutex_);
  seen_levels_ = std::move(below);
  seen_own_blocks_ = own_blocks;
}

std::vector<LevelFacts> Overlay::level_facts() const {
  const OverlayFacts now = facts();
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
  const LookLock seen(seen_mutex_);
  upper.own_blocks = seen_own_blocks_;
  std::vector<LevelFacts> levels = seen_levels_;
  levels.push_back(std::move(upper));
  return levels;
}

}  // namespace unionfs
