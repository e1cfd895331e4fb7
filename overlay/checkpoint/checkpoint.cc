// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/checkpoint.h"

#include "overlay/checkpoint/journal.h"
#include "overlay/checkpoint/proof.h"
#include "overlay/checkpoint/view_image.h"

namespace unionfs {
namespace {

// A merged view of lower and layer without any session.
class LayerView {
 public:
  LayerView(const CheckpointParts& parts, File& upper_file, const Volume& upper,
            const Layer& layer)
      : reader_([](const std::string&) {}),
        synthesis_(parts.lower, upper, parts.geometry, layer),
        bitmap_(SessionBitmap::make_empty(upper_file, bitmap_size_bytes(parts.geometry))),
        view_(synthesis_, parts.lower_file, upper_file, parts.area, reader_) {
    view_.set_bitmap(bitmap_.get());
  }

  const MergedView& view() const { return view_; }

 private:
  BatchReader reader_;
  Synthesis synthesis_;
  std::unique_ptr<SessionBitmap> bitmap_;
  MergedView view_;
};

// Where the layer tables and what depends on their length lie afterwards.
StateArea next_area(const StateArea& area, const Layout& merged, uint64_t tables_bytes,
                    uint64_t translated_count) {
  StateArea next = area;
  ++next.session_number;
  next.flags = area.flags & ~upper_format::kFlagUnproven;
  next.journal = {};
  next.layer_tables = {round_up(area.fixed_blocks.end(), upper_format::kPageBytes), tables_bytes};
  next.translated_blocks = {round_up(next.layer_tables.end(), upper_format::kPageBytes),
                            translated_count * merged.block_size_bytes};
  return next;
}

// The state of the old session, and D-blocks that belong to nobody.
std::vector<FileRange> punches_of(const StateArea& area, const Layout& merged,
                                  const std::vector<BlockRange>& dead) {
  std::vector<FileRange> punches = {area.live_bitmap, area.durable_bitmap, area.fixed_blocks,
                                    area.layer_tables, area.translated_blocks};
  for (const BlockRange& range : dead) {
    punches.push_back({merged.offset_of(range.begin), range.count() * merged.block_size_bytes});
  }
  return punches;
}

}  // namespace

Result<CheckpointFigures> make_checkpoint(const CheckpointParts& parts) {
  const Layout& merged_layout = parts.geometry.merged();
  const ViewImage merged_image("merged image", parts.view);
  UNIONFS_ASSIGN(const Volume merged, Volume::open(merged_image, SuperblockUse::kLower));
  const LayerView before_view(parts, parts.upper_file, parts.upper, parts.layer);
  const ViewImage before_image("merged image", before_view.view());
  UNIONFS_ASSIGN(const Volume before, Volume::open(before_image, SuperblockUse::kLower));

  StagedFile stage(parts.upper_file);
  const LayerBuilder::Sources sources{parts.lower,        parts.upper, before,
                                      merged,             before_view.view(),
                                      parts.view,         parts.bitmap,
                                      parts.geometry,     parts.layer,
                                      parts.is_cancelled};
  LayerBuilder builder(sources, stage);
  UNIONFS_TRY(builder.build());

  const std::vector<std::byte> tables = encode_layer_tables(builder.tables());
  const StateArea next = next_area(parts.area, merged_layout, tables.size(),
                                   builder.tables().translated.size());
  UNIONFS_TRY(stage.resize(std::max(next.end(), stage.size_bytes())));

  UNIONFS_ASSIGN(const Volume upper, Volume::open(stage, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(LayerTables decoded,
                 decode_layer_tables(parts.upper_file.name(), tables, parts.geometry));
  UNIONFS_ASSIGN(const Layer layer, Layer::load(upper, parts.geometry, std::move(decoded)));
  const LayerView after_view(parts, stage, upper, layer);
  const ViewImage after_image("new layer", after_view.view());
  UNIONFS_ASSIGN(const Volume after, Volume::open(after_image, SuperblockUse::kLower));
  UNIONFS_TRY(prove_same(merged, after, parts.geometry, layer, builder.to_prove(),
                         parts.is_cancelled));

  UNIONFS_TRY(stage.write(next.layer_tables.offset, tables));
  const JournalPlan plan{stage, punches_of(parts.area, merged_layout, builder.dead()),
                         next.end(), encode_header(next, parts.geometry)};
  UNIONFS_TRY(commit_journal(parts.upper_file, parts.area, parts.geometry, plan));
  UNIONFS_TRY(replay_journal(parts.upper_file, parts.area));
  return builder.figures();
}

}  // namespace unionfs
