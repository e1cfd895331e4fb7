// SPDX-License-Identifier: BSD-3-Clause
//
// A layer opened over what is below it.  All that only reads stands on this one
// object: a served disk is this plus a session, a checkpoint makes the next one,
// check and diff look at one, and a layer can lie on another one (LayerBelow in
// overlay/merged/merged_image.h).
#ifndef UNIONFS_OVERLAY_MERGED_LAYER_OVER_LOWER_H
#define UNIONFS_OVERLAY_MERGED_LAYER_OVER_LOWER_H

#include <atomic>
#include <memory>

#include "overlay/host/batch_reader.h"
#include "overlay/merged/below.h"
#include "overlay/merged/merged_view.h"
#include "overlay/merged/synthesis.h"
#include "overlay/upper/lower_comparison.h"
#include "overlay/upper/opened_upper.h"

namespace unionfs {

// Immutable; thread-safe.  Refers to `below` and to the upper's file, which must outlive it.
class LayerOverLower {
 public:
  // Opens an upper as it lies in its file; a checkpoint that was committed and not brought
  // home counts as home.  Writes nothing.  `log` is told once where the host refuses
  // io_uring; of all that stand on one lower, the first one's.  Errors: see open_upper(); kCorrupt
  // also where tables and bitmaps disagree; kInvalid also where the lower is not as its records
  // say.
  static Result<std::unique_ptr<LayerOverLower>> load(const Below& below, const ReadableFile& upper,
                                                      const LogSink& log);
  // The same of what was opened already, or is staged.  Does not look at the records.
  static Result<std::unique_ptr<LayerOverLower>> make(const Below& below, OpenedUpper opened,
                                                      const LogSink& log);

  LayerOverLower(const LayerOverLower&) = delete;
  LayerOverLower& operator=(const LayerOverLower&) = delete;

  const Below& below() const { return below_; }
  const Geometry& geometry() const { return *opened_.geometry; }
  const std::shared_ptr<const Geometry>& shared_geometry() const { return opened_.geometry; }
  const Layer& layer() const { return layer_; }

  // The layer's own file, through its journal if it has one.
  const ReadableFile& upper_file() const { return *opened_.file; }
  // Its ext2 part.
  const Volume& upper() const { return opened_.volume; }
  // Its state area as of the opening.
  const StateArea& area() const { return opened_.area; }
  // What the lower was like where the layer depends on it; empty if an earlier program
  // made the layer.
  const LowerRecords& lower_records() const { return opened_.lower_records; }
  // Those that load() did not compare, because they are many: by their numbers.
  const std::vector<uint32_t>& uncompared() const { return uncompared_; }
  // The layer directly below; nullptr where that is a plain image.
  const LayerOverLower* layer_below() const { return below_.layer(); }
  // Whether there are none, or somebody has compared them since.
  bool is_compared() const {
    return uncompared_.empty() || is_rest_compared_.load(std::memory_order_acquire);
  }
  void note_compared() const { is_rest_compared_.store(true, std::memory_order_release); }
  // Whether there are such in this layer, or in one below it.
  bool has_uncompared() const;
  LowerComparison lower_comparison(const std::atomic<bool>& is_cancelled) const {
    return {below_.volume(), upper(), layer_, lower_records(), is_cancelled};
  }
  // A checkpoint was committed, but not brought home: the area of the file as it lies.
  bool has_journal() const { return opened_.has_journal(); }
  const StateArea& journal_area() const { return opened_.journal_area; }

  // The merged image, without any session: as items, computed blocks, and all blocks.
  const MergedItems& items() const { return synthesis_.items(); }
  const Synthesis& synthesis() const { return synthesis_; }
  const MergedView& view() const { return view_; }

  // For views: reads of several ranges at once.
  BatchReader& reader() const { return below_.reader(); }

 private:
  LayerOverLower(const Below& below, OpenedUpper opened, Layer layer);

  const Below& below_;
  const OpenedUpper opened_;
  const Layer layer_;
  const Synthesis synthesis_;
  std::vector<uint32_t> uncompared_;
  // Disks that share the layer need not compare it again.
  mutable std::atomic<bool> is_rest_compared_{false};
  const MergedView view_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_MERGED_LAYER_OVER_LOWER_H
