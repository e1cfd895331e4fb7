// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/look/look.h"

#include "overlay/upper/state_area.h"

namespace unionfs {
namespace {

// What stays the same as long as the layer does.  The header's generation is another matter:
// a client that comes or goes raises it, and changes nothing of the layer.
struct LayerMoment {
  StateArea area;
  std::string error;  // why there is none, instead
};

bool is_same_range(const FileRange& a, const FileRange& b) {
  return a.offset == b.offset && a.length == b.length;
}

bool is_same_moment(const LayerMoment& a, const LayerMoment& b) {
  return a.error == b.error && a.area.offset == b.area.offset && a.area.version == b.area.version &&
         a.area.session_number == b.area.session_number &&
         a.area.merged_block_count == b.area.merged_block_count &&
         is_same_range(a.area.layer_tables, b.area.layer_tables) &&
         is_same_range(a.area.translated_blocks, b.area.translated_blocks) &&
         is_same_range(a.area.journal, b.area.journal);
}

// Of the file as it lies: a journal that is named there is not read through.
Result<StateArea> area_as_it_lies(const ReadableFile& upper) {
  UNIONFS_ASSIGN(const Superblock superblock, Superblock::read(upper, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(const StateMark mark, required_mark_of(upper.name(), superblock.raw()));
  return read_state_area(upper, mark);
}

LayerMoment moment_of(const ReadableFile& upper) {
  const Result<StateArea> area = area_as_it_lies(upper);
  return area ? LayerMoment{*area, ""} : LayerMoment{{}, area.error().message};
}

}  // namespace

UpperPlace upper_at(const std::string& path) {
  return {path,
          [path]() -> Result<std::unique_ptr<WritableFile>> {
            UNIONFS_ASSIGN(auto file, PosixFile::open(path, FileLock::kNone));
            return std::unique_ptr<WritableFile>(std::move(file));
          },
          [path](const WritableFile& file) {
            return static_cast<const PosixFile&>(file).is_named(path);
          }};
}

Result<void> look_at(const UpperPlace& place,
                     const std::function<Result<void>(WritableFile&)>& look, LookNeeds needs) {
  for (int looks = 0; looks < kMaxLooks; ++looks) {
    UNIONFS_ASSIGN(const auto upper, place.open());
    const LayerMoment before = moment_of(*upper);
    Result<void> seen = look(*upper);
    const LayerMoment after = moment_of(*upper);
    const bool is_quiet =
        needs == LookNeeds::kSameLayer || before.area.generation == after.area.generation;
    if (is_quiet && is_same_moment(before, after) && place.is_still_there(*upper)) {
      return seen;
    }
  }
  return system_failure(EAGAIN, fmt::format("{}: is being checkpointed again and again; it was "
                                            "looked at {} times",
                                            place.name, kMaxLooks));
}

}  // namespace unionfs
