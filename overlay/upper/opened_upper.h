// SPDX-License-Identifier: BSD-3-Clause
//
// An upper opened over what it lies on: found to belong to it, of its geometry,
// with its tables read.  Whether the tables agree with the layer's bitmaps shows
// when the layer is loaded.
#ifndef UNIONFS_OVERLAY_UPPER_OPENED_UPPER_H
#define UNIONFS_OVERLAY_UPPER_OPENED_UPPER_H

#include <memory>

#include "fsparse/volume.h"
#include "overlay/geometry/geometry.h"
#include "overlay/host/staged_file.h"
#include "overlay/upper/layer.h"
#include "overlay/upper/lower_records.h"
#include "overlay/upper/parent.h"
#include "overlay/upper/state_area.h"

namespace unionfs {

// A value.  Refers to the upper it was opened from, which must outlive it.
struct OpenedUpper {
  const ReadableFile* file = nullptr;  // the upper, or `stage`
  std::unique_ptr<StagedFile> stage;   // with a journal: the upper as it will be
  StateArea journal_area;              // with a journal: the area that has it
  StateArea area;
  std::shared_ptr<const Geometry> geometry;  // of the merged image
  Volume volume;                             // the ext2 part
  LayerTables tables;
  LowerRecords lower_records;  // none if the area has none; not compared with the lower yet

  bool has_journal() const { return stage != nullptr; }
};

// Without a byte written.  `below` is the image the upper lies on, `level` what the level is that
// has it.  kInvalid if the upper belongs to another one, kCorrupt or kUnsupported where the upper
// is not as it must be.
Result<OpenedUpper> open_upper(const Volume& below, const ReadableFile& upper,
                               const LevelIdentity& level = {});
// The same over an image that need not be the upper's lower.  What of that shows is right only
// where something proves that the lower had the same.
Result<OpenedUpper> open_upper_over_another(const Volume& below, const ReadableFile& upper);
// The same without any lower: the geometry is the upper's own.
Result<OpenedUpper> open_upper_alone(const ReadableFile& upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_UPPER_OPENED_UPPER_H
