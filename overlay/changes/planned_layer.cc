// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/changes/planned_layer.h"

#include "overlay/changes/make_planned.h"
#include "overlay/host/cancellation.h"
#include "overlay/host/clock.h"
#include "overlay/host/zero_bytes.h"
#include "overlay/upper/layer_create.h"

namespace unionfs {
namespace {

// Tells at most every few seconds how far the making is.
class MakingLine {
 public:
  MakingLine(const LogSink& progress, std::string name)
      : progress_(progress), name_(std::move(name)), last_(steady_clock().now()) {}

  void operator()(uint64_t done, uint64_t all) {
    const Clock::TimePoint now = steady_clock().now();
    if (progress_ && now - last_ >= kInterval) {
      last_ = now;
      progress_(fmt::format("{}: {} of {} files and names are made", name_, done, all));
    }
  }

 private:
  static constexpr std::chrono::seconds kInterval{3};

  const LogSink& progress_;
  const std::string name_;
  Clock::TimePoint last_;
};

Result<MadeFiles> make_files(const Plan& plan, Disk& disk, const WritableFile& target,
                             const PlannedLayerParts& parts) {
  UNIONFS_ASSIGN(const auto files, MergedFiles::open(disk, parts.time_of_change));
  UNIONFS_ASSIGN(MadeFiles made,
                 make_planned(plan, *files, MakingLine(parts.progress, target.name())));
  UNIONFS_TRY(files->close());
  return made;
}

}  // namespace

Result<PlannedLayer> make_planned_layer(const Plan& plan, WritableFile& target,
                                        const PlannedLayerParts& parts) {
  PlannedLayer result;
  UNIONFS_TRY(create_layer(target, parts.below.volume(), parts.geometry, parts.below.identity()));
  UNIONFS_ASSIGN(const auto disk, Disk::load(parts.below, target, parts.boot_id, parts.log));
  UNIONFS_TRY(disk->attach(Access::kReadWrite));
  const Result<MadeFiles> made = make_files(plan, *disk, target, parts);
  UNIONFS_TRY(disk->close());
  UNIONFS_TRY(made);
  result.bytes_written = made->bytes_written;
  UNIONFS_TRY(check_not_cancelled(parts.is_cancelled));
  if (disk->has_session()) {
    UNIONFS_ASSIGN(result.checkpoint,
                   disk->checkpoint(AskedBy::kPerson, parts.is_cancelled, made->hints));
  }
  UNIONFS_TRY(check_not_cancelled(parts.is_cancelled));
  UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(parts.below, target, parts.log));
  if (layer->has_journal()) {
    return corrupt("{}: its checkpoint was not brought home", target.name());
  }
  // The stamp of the making means nothing, and would make each file another one.
  UNIONFS_TRY(
      zero_bytes(target, layer->area().stamp_offset(), upper_format::kPageBytes, ZeroWay::kPunch));
  UNIONFS_TRY(target.sync());
  UNIONFS_ASSIGN(const auto merged, MergedImage::open("new merged image", layer->view()));
  UNIONFS_ASSIGN(result.proof, check_planned(plan, *layer, merged->volume()));
  return result;
}

}  // namespace unionfs
