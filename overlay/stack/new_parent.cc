// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/new_parent.h"

#include "overlay/checkpoint/proof.h"
#include "overlay/host/staged_file.h"
#include "overlay/merged/merged_image.h"
#include "overlay/stack/same_image.h"
#include "overlay/stack/touched_blocks.h"
#include "overlay/upper/live_stamp.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {

// A session has whole blocks of below, free bytes and access times among them, and these may be
// others.
Result<void> check_can_change_parent(const LayerOverLower& layer, const ReadableFile& upper) {
  if (layer.has_journal()) {
    return invalid(
        "{}: has a checkpoint that was not brought home; a server does that, or: "
        "unionfs-img checkpoint",
        upper.name());
  }
  const StateArea& area = layer.area();
  UNIONFS_TRY(check_may_write(upper.name(), area));
  if (area.is_void()) {
    return invalid(
        "{}: is a session over a frozen level, and stands on no other; turn it into a "
        "layer first: unionfs-img checkpoint",
        upper.name());
  }
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(const bool live, is_live_current(upper, area, boot_id));
  UNIONFS_ASSIGN(const auto written, SessionBitmap::open_for_reading(
                                         upper, live ? area.live_bitmap : area.durable_bitmap));
  if (!written->is_empty()) {
    return invalid(
        "{}: has an open session, whose blocks are of the levels below; turn it into a "
        "layer first: unionfs-img checkpoint",
        upper.name());
  }
  return {};
}

namespace {

Result<void> prove_same_merged(const ParentChange& change, const LayerOverLower& old_layer,
                               const LayerOverLower& new_layer,
                               const std::atomic<bool>& is_cancelled) {
  const std::string& name = old_layer.upper_file().name();
  UNIONFS_ASSIGN(const auto wanted, MergedImage::open(name, old_layer.view()));
  UNIONFS_ASSIGN(const auto found, MergedImage::open(name, new_layer.view()));
  BlockSet touched(old_layer.geometry().merged());
  for (const LayerOverLower* layer : change.layers) {
    add_touched_blocks(*layer, touched);
  }
  add_touched_blocks(old_layer, touched);
  UNIONFS_TRY(prove_same_boot_area(wanted->volume(), found->volume(), name));
  UNIONFS_TRY(prove_same_counters(wanted->volume(), found->volume(), name));
  return prove_same(wanted->volume(), found->volume(), new_layer.geometry(), new_layer.layer(),
                    touched, {}, is_cancelled);
}

}  // namespace

Result<StateArea> prove_new_parent(const ParentChange& change, const ReadableFile& upper,
                                   const LogSink& log, const std::atomic<bool>& is_cancelled) {
  UNIONFS_ASSIGN(const auto old_layer, LayerOverLower::load(change.old_below, upper, log));
  UNIONFS_TRY(check_can_change_parent(*old_layer, upper));
  StateArea area = old_layer->area();
  set_parent(area, change.new_below.identity());
  area.lower = known_lower(change.new_below.volume());

  StagedFile staged(upper);
  UNIONFS_TRY(write_header(staged, encode_header(area), area.generation + 1));
  UNIONFS_ASSIGN(const auto new_layer, LayerOverLower::load(change.new_below, staged, log));
  if (new_layer->area().has_lower_records()) {
    UNIONFS_TRY(new_layer->lower_comparison(is_cancelled).compare_all());
  }
  UNIONFS_TRY(prove_same_merged(change, *old_layer, *new_layer, is_cancelled));
  return area;
}

// Both slots: whoever falls back to the older one must find the same level.
Result<void> write_new_parent(WritableFile& upper, StateArea area) {
  for (uint32_t slot = 0; slot < upper_format::kHeaderSlots; ++slot) {
    UNIONFS_TRY(write_state_header(upper, area));
    UNIONFS_TRY(upper.sync());
  }
  return {};
}

}  // namespace unionfs
