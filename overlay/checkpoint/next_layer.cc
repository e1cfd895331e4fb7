// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/checkpoint/next_layer.h"

#include <algorithm>

#include "overlay/checkpoint/proof.h"

namespace unionfs {
namespace {

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

LayerView::LayerView(const CheckpointParts& parts, const ReadableFile& upper_file,
                     const Volume& upper, const Layer& layer)
    : reader_([](const std::string&) {}),
      synthesis_(parts.lower, upper, parts.geometry, layer),
      bitmap_(SessionBitmap::make_empty(bitmap_size_bytes(parts.geometry))),
      view_(synthesis_, parts.lower_file, upper_file, parts.area, reader_) {
  view_.set_bitmap(bitmap_.get());
}

Result<std::unique_ptr<NextLayer>> NextLayer::build(const CheckpointParts& parts) {
  std::unique_ptr<NextLayer> next(new NextLayer(parts));
  UNIONFS_TRY(next->make(parts));
  return next;
}

Result<void> NextLayer::make(const CheckpointParts& parts) {
  const Layout& merged_layout = parts.geometry.merged();
  const ViewImage merged_image("merged image", parts.view);
  UNIONFS_ASSIGN(const Volume merged, Volume::open(merged_image, SuperblockUse::kMerged));
  const LayerView before_view(parts, parts.upper_file, parts.upper, parts.layer);
  const ViewImage before_image("merged image", before_view.view());
  UNIONFS_ASSIGN(const Volume before, Volume::open(before_image, SuperblockUse::kMerged));

  const LayerBuilder::Sources sources{
      parts.lower, parts.upper,  before,         merged,      before_view.view(),
      parts.view,  parts.bitmap, parts.geometry, parts.layer, parts.is_cancelled};
  LayerBuilder builder(sources, stage_);
  UNIONFS_TRY(builder.build());

  const std::vector<std::byte> tables = encode_layer_tables(builder.tables());
  area_ = next_area(parts.area, merged_layout, tables.size(), builder.tables().translated.size());
  stage_.resize(std::max(area_.end(), stage_.size_bytes()));
  punches_ = punches_of(parts.area, merged_layout, builder.dead());
  figures_ = builder.figures();

  UNIONFS_TRY(stage_.write(area_.layer_tables.offset, tables));
  UNIONFS_ASSIGN(upper_, Volume::open(stage_, SuperblockUse::kUpper));
  UNIONFS_ASSIGN(LayerTables decoded,
                 read_layer_tables(stage_, area_.layer_tables, parts.geometry.merged()));
  UNIONFS_ASSIGN(layer_, Layer::load(*upper_, parts.geometry, std::move(decoded)));
  view_.emplace(parts, stage_, *upper_, *layer_);
  image_.emplace("new layer", view_->view());
  UNIONFS_ASSIGN(merged_, Volume::open(*image_, SuperblockUse::kMerged));
  return prove_same(merged, *merged_, parts.geometry, *layer_, builder.to_prove(),
                    parts.is_cancelled);
}

JournalPlan NextLayer::plan(const Geometry& geometry) const {
  return {stage_, punches_, area_.end(), encode_header(area_, geometry)};
}

}  // namespace unionfs
