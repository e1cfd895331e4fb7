// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/merged/changing_levels.h"

#include <algorithm>

namespace unionfs {

ChangingLevels::ChangingLevels(const LayerOverLower& layer, const MergedView* frozen) {
  for (const LayerOverLower* above = &layer; above != nullptr; above = above->layer_below()) {
    const LayerOverLower* below = above->layer_below();
    add(below != nullptr ? below->upper_file() : above->below().file());
  }
  for (const MergedView* view = frozen; view != nullptr; view = view->parent()) {
    add(view->upper_file());
  }
}

void ChangingLevels::add(const ReadableFile& file) {
  const bool is_of_host = file.descriptor() != -1;
  if (!is_of_host && std::ranges::find(files_, &file) == files_.end()) {
    files_.push_back(&file);
  }
}

Result<void> ChangingLevels::check_not_replaced() const {
  for (const ReadableFile* file : files_) {
    UNIONFS_TRY(file->check_not_replaced());
  }
  return {};
}

Result<void> ChangingLevels::check_same() const {
  for (const ReadableFile* file : files_) {
    UNIONFS_TRY(file->check_same());
  }
  return {};
}

}  // namespace unionfs
