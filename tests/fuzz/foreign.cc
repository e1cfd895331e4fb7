// SPDX-License-Identifier: BSD-3-Clause
//
// An edited foreign upper, imported over a sound lower.
#include "overlay/changes/import.h"
#include "overlay/check/upper_check.h"
#include "tests/fuzz/support/edit.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/looks.h"

namespace unionfs::fuzzing {
namespace {

// What an import made is a sound upper, whatever the foreign one was.
void expect_sound(const SoundLower& lower, MemoryFile& upper) {
  const auto disk = open_to_look(*lower.image, upper);
  if (disk == nullptr) {
    broken("an imported upper cannot be opened");
  }
  const ShownBlocks shown = look_at_all(*disk);
  if (!shown.is_whole()) {
    broken("an imported upper cannot be read");
  }
  expect_right_extents(*disk, shown);
  const auto report = wanted(check_upper(*lower.file, upper, CheckPurpose::kLook, no_log()));
  if (!report.left.empty()) {
    broken("an imported upper is not sound: " + report.left.front().message);
  }
  expect_clean_sometimes(shown.bytes, "the merged image after an import");
}

void run(const Recipe& recipe) {
  const SoundImages& images = SoundImages::get();
  const SoundLower& lower = *images.lowers()[recipe.base % images.lowers().size()];
  const auto foreign = images.foreign().clone();
  for (const RecipeStep& step : recipe.steps) {
    const auto kind = static_cast<PlaceKind>(step.kind % kImagePlaceKinds);
    (void)apply_edit(*foreign, images.foreign_atlas(), kind, step);
  }
  const auto is_foreign = ForeignTree::is_foreign(*foreign);
  if (!went_well(is_foreign) || !*is_foreign) {
    return;
  }
  const auto tree = ForeignTree::open(*foreign);
  if (!went_well(tree)) {
    return;
  }
  const auto size = foreign_merged_size(lower.image->volume(), *tree);
  if (!went_well(size) || *size > kCapacityBytes / 4) {
    return;
  }
  const auto geometry = Geometry::grow(lower.image->volume(), *size);
  if (!went_well(geometry)) {
    return;
  }
  MemoryFile upper("upper.img", kCapacityBytes);
  if (went_well(import_upper(upper, {*lower.image, *tree, *geometry, kThisBoot, no_log(), {}}))) {
    expect_sound(lower, upper);
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
