// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/upper/upper_state.h"

#include "overlay/upper/journal.h"

namespace unionfs {
namespace {

Result<StateArea> area_of(const ReadableFile& upper, const Superblock& superblock) {
  UNIONFS_ASSIGN(const StateMark mark, required_mark_of(upper.name(), superblock.raw()));
  return read_state_area(upper, mark);
}

}  // namespace

Result<UpperState> read_upper_state(const ReadableFile& upper) {
  UpperState state;
  state.file = &upper;
  UNIONFS_ASSIGN(Superblock superblock, Superblock::read(upper, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(state.area, area_of(upper, superblock));
  if (state.area.journal.length != 0) {
    state.journal_area = state.area;
    state.stage = std::make_unique<StagedFile>(upper);
    UNIONFS_TRY(stage_journal(*state.stage, upper, state.journal_area));
    state.file = state.stage.get();
    UNIONFS_ASSIGN(superblock, Superblock::read(*state.stage, SuperblockUse::kUpper));
    UNIONFS_ASSIGN(state.area, area_of(*state.stage, superblock));
    if (state.area.journal.length != 0) {
      return corrupt("{}: state area: a journal is still named by what it brings home",
                     upper.name());
    }
  }
  // Only now: while a journal goes home, the two need not agree yet.
  UNIONFS_TRY(check_merged_size(upper.name(), state.area, superblock.layout()));
  return state;
}

}  // namespace unionfs
