// SPDX-License-Identifier: BSD-3-Clause
//
// An edited upper over a sound lower: what a server shows of it, and a journal brought home.
#include <algorithm>

#include "overlay/upper/upper_facts.h"
#include "tests/fuzz/support/edited_pair.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/looks.h"

namespace unionfs::fuzzing {
namespace {

// Whether the journal and what leads to it are as a program made them.  Who only reads takes
// the session for ended where there is a journal; it is a punch of the journal that ends it.
bool has_sound_journal(const EditedPair& pair) {
  return std::none_of(
      pair.upper_edits.begin(), pair.upper_edits.end(), [](const EditedRange& edit) {
        return edit.range.length > 0 &&
               (edit.kind == PlaceKind::kSuperblock || edit.kind == PlaceKind::kMark ||
                edit.kind == PlaceKind::kHeader || edit.kind == PlaceKind::kJournalHead);
      });
}

// Whoever may write brings the journal home, and shows what who only read was shown.
void finish_journal_of(EditedPair& pair, Disk& disk, const ShownBlocks& shown) {
  if (!went_well(disk.finish_checkpoint())) {
    return;
  }
  const auto again = open_to_look(*pair.lower, *pair.upper);
  if (!has_sound_journal(pair)) {
    if (again != nullptr) {
      (void)look_at_all(*again);
    }
    return;
  }
  if (again == nullptr) {
    broken("after the journal is home the upper cannot be opened");
  }
  if (again->has_journal()) {
    broken("the journal is home, and still there");
  }
  // A name may fall through to nothing in either way; what can be read is the same.
  const ShownBlocks now = look_at_all(*again);
  const std::string difference = first_difference(shown.bytes, now.bytes);
  if (now.is_readable != shown.is_readable || !difference.empty()) {
    broken("the journal shows something else when it is home: " + difference);
  }
}

void run(const Recipe& recipe) {
  EditedPair pair = edited_pair(recipe, false);
  (void)went_well(read_upper_facts(*pair.upper));
  const auto disk = open_to_look(*pair.lower, *pair.upper);
  if (disk == nullptr) {
    return;
  }
  const ShownBlocks shown = look_at_all(*disk);
  expect_right_extents(*disk, shown);
  const bool is_cut = pair.upper->size_bytes() != pair.sound->upper->size_bytes();
  if (!is_cut && shown.bytes.size() == pair.sound->merged.size()) {
    expect_untouched(*disk, *pair.sound, shown, {}, pair.upper_edits);
  }
  if (disk->has_journal()) {
    finish_journal_of(pair, *disk, shown);
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
