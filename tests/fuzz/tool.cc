// SPDX-License-Identifier: BSD-3-Clause
//
// An edited pair of images under the commands of unionfs-img, and under a client.
#include "overlay/changes/tree_changes.h"
#include "overlay/check/upper_check.h"
#include "overlay/merged/owner_map.h"
#include "overlay/tree/file_state.h"
#include "overlay/upper/layer_tree.h"
#include "overlay/upper/upper_facts.h"
#include "tests/fuzz/support/edited_pair.h"
#include "tests/fuzz/support/invariant.h"
#include "tests/fuzz/support/looks.h"

namespace unionfs::fuzzing {
namespace {

void list(const Disk& disk) {
  uint64_t directories = 0;
  const Volume& upper = disk.layer().upper();
  (void)went_well(
      walk_layer(upper, {[&](const LayerDirectory&) -> Result<void> {
                           if (++directories > upper.layout().inode_count()) {
                             broken("a walk comes to more directories than there are inodes");
                           }
                           return {};
                         },
                         [&](const LayerDirectory&, const NamedEntry& entry) -> Result<void> {
                           if (entry.kind == EntryKind::kReal) {
                             UNIONFS_TRY(read_inode(upper, entry.inode));
                           }
                           return {};
                         }}));
}

void draw_map(const Disk& disk) {
  const OwnerMap map = make_owner_map(disk.view(), disk.state_area());
  BlockNumber reached(0);
  for (const OwnedRange& range : map.ranges) {
    if (range.blocks.begin != reached || range.blocks.empty()) {
      broken("the map has a gap");
    }
    reached = range.blocks.end;
  }
  if (reached.value() != map.block_count) {
    broken("the map ends before the image");
  }
}

// What diff reads of each name.
Result<void> look_at_states(const ComparedTrees& trees) {
  for (const Change& change : trees.changes) {
    if (change.below.value() != 0) {
      UNIONFS_TRY(file_state_of(trees.lower, change.below));
    }
    if (change.kind != ChangeKind::kDeleted) {
      UNIONFS_TRY(file_state_of(trees.merged, change.inode));
    }
  }
  return {};
}

// info, ls, map, diff and convert.
ShownBlocks look(const EditedPair& pair, Disk& disk) {
  (void)went_well(read_upper_facts(*pair.upper));
  list(disk);
  draw_map(disk);
  (void)went_well(visit_changes(disk, ChangesUntil::kSession, look_at_states));
  const ShownBlocks shown = look_at_all(disk);
  expect_right_extents(disk, shown);
  if (shown.bytes.size() == pair.sound->merged.size()) {
    expect_untouched(disk, *pair.sound, shown, pair.lower_edits, pair.upper_edits);
  }
  return shown;
}

// What a check has nothing against can be served.
void check(const EditedPair& pair, const ShownBlocks& shown) {
  const auto report = check_upper(*pair.lower_file, *pair.upper, CheckPurpose::kLook, no_log());
  if (went_well(report) && report->left.empty() && !shown.is_whole()) {
    broken("a check finds nothing, and blocks cannot be read: " + shown.first_error);
  }
}

// A repair ends, and what it leaves nothing of is sound.
void repair(const EditedPair& pair) {
  const auto copy = pair.upper->clone();
  const auto report = check_upper(*pair.lower_file, *copy, CheckPurpose::kRepair, no_log());
  if (!went_well(report) || !report->is_repair_tried || report->repair_failure) {
    return;
  }
  if (!report->left.empty()) {
    return;
  }
  const auto disk = open_to_look(*pair.lower, *copy);
  if (disk == nullptr) {
    broken("a repair leaves nothing to repair, and an upper that cannot be opened");
  }
  const ShownBlocks shown = look_at_all(*disk);
  if (!shown.is_whole()) {
    broken("a repair leaves nothing to repair, and blocks cannot be read: " + shown.first_error);
  }
  const auto again = check_upper(*pair.lower_file, *copy, CheckPurpose::kLook, no_log());
  if (!again || !again->left.empty()) {
    broken("a repaired upper is not sound");
  }
}

// Writes, flushes, ends, and opens it again.  What the client saw last, or nothing where it
// could not even write.
std::optional<ShownBlocks> write(const EditedPair& pair, const Recipe& recipe) {
  auto disk = Disk::load(*pair.lower, *pair.upper, kThisBoot, no_log());
  if (!disk || (*disk)->has_journal() || !went_well((*disk)->attach(Access::kReadWrite))) {
    return std::nullopt;
  }
  const uint64_t size = (*disk)->geometry().size_bytes();
  const std::vector<std::byte> bytes(700, static_cast<std::byte>(recipe.seed));
  (void)went_well((*disk)->write(recipe.seed * uint64_t{61} % (size - bytes.size()), bytes));
  (void)went_well((*disk)->zero(recipe.seed * uint64_t{53} % (size - 3000), 3000, {true, false}));
  wanted((*disk)->flush());
  ShownBlocks last = look_at_all(**disk);
  wanted((*disk)->close());
  disk->reset();
  const auto again = open_to_look(*pair.lower, *pair.upper);
  if (again == nullptr || look_at_all(*again) != last) {
    broken("an upper shows something else when it is opened again");
  }
  return last;
}

// A checkpoint is refused, and the session is as it was; or there is a layer that shows all
// that could be read before.
void checkpoint(const EditedPair& pair, const ShownBlocks& session) {
  const auto disk = wanted(Disk::load(*pair.lower, *pair.upper, kThisBoot, no_log()));
  wanted(disk->attach(Access::kReadWrite));
  wanted(disk->close());
  const std::atomic<bool> never{false};
  const bool is_made = went_well(disk->checkpoint(AskedBy::kPerson, never));
  const auto again = open_to_look(*pair.lower, *pair.upper);
  if (again == nullptr) {
    broken("after a checkpoint the upper cannot be opened");
  }
  const ShownBlocks shown = look_at_all(*again);
  if (!is_made && shown != session) {
    broken("a checkpoint was refused, and the session is another one");
  }
  // A block that could not be read before may be as it was: a checkpoint looks at what the
  // session changed, and damage elsewhere in the layer is the check's to find.
  for (size_t block = 0; block < shown.is_readable.size(); ++block) {
    if (session.is_readable[block] && !shown.is_readable[block]) {
      broken(fmt::format("after a checkpoint block {} cannot be read any more", block));
    }
  }
}

void run(const Recipe& recipe) {
  EditedPair pair = edited_pair(recipe, true);
  if (pair.lower == nullptr) {
    return;
  }
  const auto disk = open_to_look(*pair.lower, *pair.upper);
  if (disk == nullptr) {
    (void)went_well(check_upper(*pair.lower_file, *pair.upper, CheckPurpose::kLook, no_log()));
    repair(pair);
    return;
  }
  const ShownBlocks shown = look(pair, *disk);
  check(pair, shown);
  repair(pair);
  if (const auto session = write(pair, recipe)) {
    checkpoint(pair, *session);
  }
}

}  // namespace
}  // namespace unionfs::fuzzing

#include "tests/fuzz/support/entry.h"
