// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/support/edited_pair.h"

#include "overlay/upper/lower_identity.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/mend.h"

namespace unionfs::fuzzing {
namespace {

constexpr uint8_t kOptions = 16;
constexpr uint8_t kCutUpper = 1;
constexpr uint8_t kLeaveChecksums = 2;

void edit_images(const Recipe& recipe, bool edits_lower, EditedPair& pair) {
  const size_t kinds = kPlaceKinds + (edits_lower ? kImagePlaceKinds : 0);
  for (const RecipeStep& step : recipe.steps) {
    const size_t kind = step.kind % kinds;
    if (kind < kPlaceKinds) {
      pair.upper_edits.push_back(
          apply_edit(*pair.upper, pair.sound->atlas, static_cast<PlaceKind>(kind), step));
    } else {
      pair.lower_edits.push_back(apply_edit(*pair.lower_file, pair.sound->lower->atlas,
                                            static_cast<PlaceKind>(kind - kPlaceKinds), step));
    }
  }
}

}  // namespace

EditedPair edited_pair(const Recipe& recipe, bool edits_lower) {
  EditedPair pair;
  pair.sound = &SoundImages::get().pair(recipe.base);
  pair.lower_file = pair.sound->lower->file->clone();
  pair.upper = pair.sound->upper->clone();
  edit_images(recipe, edits_lower, pair);
  auto lower = LowerImage::open(*pair.lower_file);
  if (!went_well(lower)) {
    return pair;
  }
  pair.lower = std::move(*lower);
  if (recipe.option % kOptions != kLeaveChecksums) {
    // An edited lower is made the upper's, as if an earlier program had made the upper over
    // it: records would tell the edits.
    const auto identity = identity_without_records(pair.lower->volume());
    const bool is_other = went_well(identity) && !pair.lower_edits.empty();
    mend_upper(*pair.upper, is_other ? std::optional(*identity) : std::nullopt);
  }
  if (recipe.option % kOptions == kCutUpper) {
    (void)pair.upper->resize(pair.upper->size_bytes() * recipe.seed / 65536);
  }
  return pair;
}

}  // namespace unionfs::fuzzing
