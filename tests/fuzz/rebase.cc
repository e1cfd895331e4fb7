// SPDX-License-Identifier: BSD-3-Clause
//
// An edited old lower, an edited new lower and an edited upper, and the layer is carried over:
// with the old lower and without it.
//
// A step whose kind has its highest bit edits the new lower.  Of the recipe's option bit 4 says
// whether that is another image than the old one, bits 5 and 6 who decides conflicts, and bit 7
// whether the old lower is gone.
#include "overlay/rebase/rebase.h"
#include "overlay/check/upper_check.h"
#include "tests/fuzz/support/edited_pair.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/looks.h"

namespace unionfs::fuzzing {
namespace {

constexpr uint8_t kEditsNew = 0x80;
constexpr uint8_t kTakesAnother = 0x10;
constexpr uint8_t kIsWithoutOld = 0x80;

const std::atomic<bool> kNever{false};

struct NewLower {
  std::unique_ptr<MemoryFile> file;
  std::unique_ptr<LowerImage> image;  // nothing where it is refused, with a clear error
  bool is_edited = false;
};

// Takes the steps that are its own from the recipe.
NewLower edited_new_lower(Recipe& recipe) {
  const SoundImages& images = SoundImages::get();
  const SoundLower* base = images.pair(recipe.base).lower;
  if ((recipe.option & kTakesAnother) != 0) {
    base = images.lowers()[base == images.lowers()[0].get() ? 1 : 0].get();
  }
  NewLower lower;
  lower.file = base->file->clone();
  std::erase_if(recipe.steps, [&](const RecipeStep& step) {
    if ((step.kind & kEditsNew) == 0) {
      return false;
    }
    const auto kind = static_cast<PlaceKind>((step.kind & ~kEditsNew) % kImagePlaceKinds);
    (void)apply_edit(*lower.file, base->atlas, kind, step);
    lower.is_edited = true;
    return true;
  });
  auto image = LowerImage::open(*lower.file);
  if (went_well(image)) {
    lower.image = std::move(*image);
  }
  return lower;
}

RebaseOptions options_of(const Recipe& recipe) {
  RebaseOptions options;
  options.policy.conflicts = static_cast<Resolution>(recipe.option >> 5 & 3);
  options.policy.ids = IdPolicy::kNumbers;
  options.always_makes = true;
  return options;
}

Result<RebaseOutcome> carry_over(const Recipe& recipe, const EditedPair& pair,
                                 const NewLower& new_lower, MemoryFile& target) {
  const RebaseOptions options = options_of(recipe);
  if ((recipe.option & kIsWithoutOld) != 0) {
    UNIONFS_ASSIGN(const auto alone,
                   LayerAlone::open(*pair.upper, *new_lower.image, no_log(), kNever));
    return rebase_without_old(*alone, *new_lower.image, target, options, kThisBoot, no_log(),
                              LogSink(), kNever);
  }
  UNIONFS_ASSIGN(const auto disk, Disk::load(*pair.lower, *pair.upper, kThisBoot, no_log()));
  UNIONFS_TRY(disk->attach(Access::kReadOnly));
  return rebase(*disk, *new_lower.image, target, options, kThisBoot, no_log(), LogSink(), kNever);
}

// What it says is done can be opened; over a sound image all of it is sound.
void look_at_made(const NewLower& new_lower, MemoryFile& target) {
  const auto disk = open_to_look(*new_lower.image, target);
  if (disk == nullptr) {
    broken("a rebase was done, and its upper cannot be opened");
  }
  if (new_lower.is_edited) {
    return;
  }
  const ShownBlocks shown = look_at_all(*disk);
  if (!shown.is_whole()) {
    broken("a rebase was done, and blocks cannot be read: " + shown.first_error);
  }
  const auto report = check_upper(*new_lower.file, target, CheckPurpose::kLook, no_log());
  if (!report || !report->left.empty()) {
    broken("a rebase onto a sound image was done, and its upper is not sound");
  }
  expect_clean_sometimes(shown.bytes, "the image behind a rebase");
}

std::vector<std::byte> bytes_in(const MemoryFile& file) {
  std::vector<std::byte> bytes(file.size_bytes());
  wanted(file.peek(0, bytes));
  return bytes;
}

void run(const Recipe& recipe) {
  Recipe of_pair = recipe;
  const NewLower new_lower = edited_new_lower(of_pair);
  const EditedPair pair = edited_pair(of_pair, true);
  if (new_lower.image == nullptr || pair.lower == nullptr) {
    return;
  }
  const std::vector<std::byte> before = bytes_in(*pair.upper);
  MemoryFile target("new-upper.img", kCapacityBytes);
  const auto outcome = carry_over(recipe, pair, new_lower, target);
  if (!same_bytes(bytes_in(*pair.upper), before)) {
    broken("a rebase has changed the old upper");
  }
  if (!went_well(outcome)) {
    return;
  }
  if (outcome->is_done) {
    look_at_made(new_lower, target);
  } else if (target.size_bytes() != 0) {
    broken("a rebase was stopped, and has written");
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
