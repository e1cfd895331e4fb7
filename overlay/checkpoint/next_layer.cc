// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/next_layer.h"

#include <algorithm>

#include "overlay/checkpoint/proof.h"
#include "overlay/checkpoint/steady_image.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {
namespace {

// Where the layer tables and what depends on their length lie afterwards.
StateArea next_area(const StateArea& area, const LayerSections& sections, const Volume& below) {
  StateArea next = area;
  ++next.session_number;
  next.flags = area.flags & ~upper_format::kFlagUnproven;
  next.journal = {};
  next.lower = known_lower(below);
  place_layer_sections(next, sections);
  return next;
}

// The state of the old session, and D-blocks that belong to nobody.
std::vector<FileRange> punches_of(const StateArea& area, const Layout& merged,
                                  const std::vector<BlockRange>& dead) {
  std::vector<FileRange> punches = area.replaced_sections();
  for (const BlockRange& range : dead) {
    punches.push_back({merged.offset_of(range.begin), range.count() * merged.block_size_bytes});
  }
  return punches;
}

// Looks at the merged image as it was before the session, too.
Result<BuiltLayer> build_over(const LayerOverLower& old, const Volume& merged_volume,
                              const MergedView& merged_view, const SessionBitmap& written,
                              const std::atomic<bool>& is_cancelled, const CheckpointHints& hints,
                              StagedFile& stage) {
  UNIONFS_ASSIGN(const auto before_image, MergedImage::open("merged image", old.view()));
  const uint32_t block_size = old.geometry().merged().block_size_bytes;
  const SteadyImage steady_lower(old.below().volume().image(), block_size);
  const SteadyImage steady_before(before_image->volume().image(), block_size);
  const SteadyImage steady_merged(merged_volume.image(), block_size);
  const Volume lower = old.below().volume().through(steady_lower);
  const Volume before = before_image->volume().through(steady_before);
  const Volume merged = merged_volume.through(steady_merged);
  UsedNumbers used_below(lower);
  UsedNumbers used_before(before);
  UsedNumbers used(merged);
  const LayerSources sources{
      .lower = lower,
      .upper = old.upper(),
      .before = before,
      .merged = merged,
      .before_view = old.view(),
      .merged_view = merged_view,
      .bitmap = written,
      .geometry = old.geometry(),
      .layer = old.layer(),
      .lower_records = old.area().has_lower_records() ? &old.lower_records() : nullptr,
      .hints = hints,
      .is_cancelled = is_cancelled,
      .used_below = used_below,
      .used_before = used_before,
      .used = used};
  return build_layer(sources, stage);
}

// What the session wrote at home, and the new layer owns there, lies in the same place of
// the upper for both, unless it is staged.  Most blocks of a session are of this kind.
SourcesRun compare_sources(const MergedView& session, const MergedView& next,
                           const StagedFile& stage, BlockRange blocks) {
  const Run before = session.run_at(blocks.begin, blocks.end);
  const Run after = next.run_at(blocks.begin, blocks.end);
  const uint32_t block_size = session.block_size_bytes();
  SourcesRun run{false, std::min(before.end, after.end)};
  const bool is_file = before.source == Source::kUpper || before.source == Source::kLower;
  const bool is_other_file = before.source == Source::kLower && before.file != after.file;
  if (!is_file || before.source != after.source || before.offset != after.offset || is_other_file) {
    return run;
  }
  run.is_same = true;
  const uint64_t end = before.offset + (run.end - blocks.begin) * block_size;
  const auto staged = stage.pages().lower_bound(before.offset);
  if (before.source == Source::kUpper && staged != stage.pages().end() && staged->first < end) {
    const uint64_t same_blocks = (staged->first - before.offset) / block_size;
    run.is_same = same_blocks > 0;
    run.end = blocks.begin + std::max<uint64_t>(same_blocks, 1);
  }
  return run;
}

}  // namespace

Result<std::unique_ptr<NextLayer>> NextLayer::build(const LayerOverLower& old,
                                                    const StateArea& area,
                                                    const SessionBitmap& written,
                                                    const std::atomic<bool>& is_cancelled,
                                                    const CheckpointHints& hints) {
  std::unique_ptr<NextLayer> next(new NextLayer(old));
  UNIONFS_TRY(next->make(old, area, written, is_cancelled, hints));
  return next;
}

Result<void> NextLayer::make(const LayerOverLower& old, const StateArea& area,
                             const SessionBitmap& written, const std::atomic<bool>& is_cancelled,
                             const CheckpointHints& hints) {
  const Layout& layout = old.geometry().merged();
  const MergedView session_view(old, &written);
  UNIONFS_ASSIGN(const auto session, MergedImage::open("merged image", session_view));
  UNIONFS_ASSIGN(const BuiltLayer built, build_over(old, session->volume(), session_view, written,
                                                    is_cancelled, hints, stage_));

  const std::vector<std::byte> tables = encode_layer_tables(built.tables);
  const std::vector<std::byte> records = encode_lower_records(built.lower_records);
  const StateArea next = next_area(
      area, {tables.size(), built.tables.translated.size(), records.size()}, old.below().volume());
  stage_.resize(std::max(round_up(next.end(), StagedFile::kPageBytes), stage_.size_bytes()));
  punches_ = punches_of(area, layout, built.dead);
  figures_ = built.figures;

  // From here on it is opened as if it were written.
  UNIONFS_TRY(stage_.write(next.layer_tables.offset, tables));
  UNIONFS_TRY(stage_.write(next.lower_records.offset, records));
  UNIONFS_ASSIGN(Volume upper, Volume::open(stage_, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(LayerTables decoded, read_layer_tables(stage_, next.layer_tables, layout));
  OpenedUpper opened{&stage_,
                     nullptr,
                     {},
                     next,
                     old.shared_geometry(),
                     std::move(upper),
                     std::move(decoded),
                     built.lower_records};
  UNIONFS_ASSIGN(layer_, LayerOverLower::make(old.below(), std::move(opened), {}));
  UNIONFS_ASSIGN(merged_, MergedImage::open("new layer", layer_->view()));
  return prove_same(
      session->volume(), merged_->volume(), old.geometry(), layer_->layer(), built.to_prove,
      [&](BlockRange blocks) {
        return compare_sources(session_view, layer_->view(), stage_, blocks);
      },
      is_cancelled);
}

JournalPlan NextLayer::plan(const std::atomic<bool>& is_cancelled) const {
  const StateArea& area = layer_->area();
  return {stage_, punches_, area.end(), encode_header(area), &is_cancelled};
}

}  // namespace unionfs
