// SPDX-License-Identifier: BSD-3-Clause
//
// An upper opened over its lower although something may be wrong with it.
#ifndef UNIONFS_OVERLAY_CHECK_CHECKED_UPPER_H
#define UNIONFS_OVERLAY_CHECK_CHECKED_UPPER_H

#include <memory>
#include <optional>

#include "overlay/check/layer_check.h"
#include "overlay/host/posix_file.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {

class CheckedUpper {
 public:
  // `upper` outlives it.  A journal that is pending counts as home.
  static Result<std::unique_ptr<CheckedUpper>> load(const Volume& lower,
                                                    const ReadableFile& lower_file,
                                                    const ReadableFile& upper);

  CheckSources sources() const {
    return {lower_, lower_file_, *volume_, *file_, *geometry_, tables_, area_};
  }
  const Geometry& geometry() const { return *geometry_; }
  const StateArea& area() const { return area_; }
  const LayerTables& tables() const { return tables_; }
  bool has_journal() const { return stage_ != nullptr; }
  const StateArea& journal_area() const { return journal_area_; }

 private:
  CheckedUpper(const Volume& lower, const ReadableFile& lower_file)
      : lower_(lower), lower_file_(lower_file) {}
  Result<void> open(const ReadableFile& upper);

  const Volume& lower_;
  const ReadableFile& lower_file_;
  std::unique_ptr<StagedFile> stage_;
  const ReadableFile* file_ = nullptr;
  StateArea area_;
  StateArea journal_area_;
  std::optional<Geometry> geometry_;
  std::optional<Volume> volume_;
  LayerTables tables_;
};

// Rebuilds what can be derived from the layer's inodes and directories, and
// writes it in one piece.  No session may be open.
Result<void> repair_upper(const CheckedUpper& checked, const LayerCheck& found,
                          WritableFile& upper);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CHECK_CHECKED_UPPER_H
