// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/rebase.h"

#include <algorithm>

#include "overlay/changes/make_planned.h"
#include "overlay/host/cancellation.h"
#include "overlay/rebase/limits.h"
#include "overlay/rebase/unplanned_check.h"
#include "overlay/upper/layer_create.h"
#include "overlay/upper/lower_identity.h"

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

class Rebase {
 public:
  Rebase(Disk& old, const Below& new_lower, WritableFile& target, const RebaseOptions& options,
         const std::string& boot_id, const LogSink& log, const LogSink& progress,
         const std::atomic<bool>& is_cancelled)
      : old_(old),
        new_lower_(new_lower),
        target_(target),
        options_(options),
        boot_id_(boot_id),
        log_(log),
        progress_(progress),
        is_cancelled_(is_cancelled) {}

  Result<RebaseOutcome> run();

 private:
  Result<void> open_ours();
  Result<void> compare_old_lower();
  Result<bool> is_same_lower() const;
  Result<Geometry> choose_geometry() const;
  Result<Plan> make_plan(const Geometry& geometry);
  Result<void> make(const Plan& plan, const Geometry& geometry);
  Result<MadeFiles> make_files(const Plan& plan, Disk& disk);
  Result<void> prove(const Plan& plan);
  uint32_t time_of_change() const;
  const LayerOverLower& layer() const { return next_ ? next_->layer() : old_.layer(); }
  const Volume& ours() const { return next_ ? next_->merged() : merged_->volume(); }

  Disk& old_;
  const Below& new_lower_;
  WritableFile& target_;
  const RebaseOptions& options_;
  const std::string& boot_id_;
  const LogSink& log_;
  const LogSink& progress_;
  const std::atomic<bool>& is_cancelled_;

  // One of the two: what the layer shows, or what it will when its session is a part of it.
  std::unique_ptr<NextLayer> next_;
  std::unique_ptr<MergedImage> merged_;
  RebaseOutcome outcome_;
};

Result<RebaseOutcome> Rebase::run() {
  UNIONFS_TRY(compare_old_lower());
  UNIONFS_TRY(open_ours());
  outcome_.old_merged_bytes = old_.geometry().size_bytes();
  UNIONFS_ASSIGN(const Geometry geometry, choose_geometry());
  outcome_.new_merged_bytes = geometry.size_bytes();
  const bool keeps_size = outcome_.new_merged_bytes == outcome_.old_merged_bytes;
  if (keeps_size && !options_.always_makes) {
    UNIONFS_ASSIGN(outcome_.is_same_lower, is_same_lower());
    if (outcome_.is_same_lower) {
      return std::move(outcome_);
    }
  }
  UNIONFS_ASSIGN(const Plan plan, make_plan(geometry));
  const RebaseReport& report = outcome_.report;
  if (report.has_undecided() || report.has_limits() || options_.is_dry_run) {
    return std::move(outcome_);
  }
  UNIONFS_TRY(make(plan, geometry));
  UNIONFS_TRY(prove(plan));
  outcome_.is_done = true;
  return std::move(outcome_);
}

// What load() left: a layer must not be read over bytes that it was not made over.
Result<void> Rebase::compare_old_lower() {
  const LowerComparison comparison = old_.layer().lower_comparison(is_cancelled_);
  for (const uint32_t index : old_.layer().uncompared()) {
    UNIONFS_TRY(check_not_cancelled(is_cancelled_));
    UNIONFS_TRY(comparison.compare(index));
  }
  return {};
}

Result<void> Rebase::open_ours() {
  if (old_.session_block_count() == 0) {
    UNIONFS_ASSIGN(merged_, MergedImage::open("old merged image", old_.layer().view()));
    return {};
  }
  Result<std::unique_ptr<NextLayer>> next = old_.next_layer();
  if (!next) {
    Error error = std::move(next).error();
    error.message = fmt::format(
        "{}: has an open session that cannot become a layer, so it cannot be carried over: {}; "
        "mount and unmount it, or have it checked with: unionfs-img checkpoint --fsck",
        old_.layer().upper().name(), error.message);
    return Failure(std::move(error));
  }
  next_ = std::move(*next);
  return {};
}

// By the records of the layer as it would be with its session: only so nothing of another
// lower can show through a block that the session wrote.
Result<bool> Rebase::is_same_lower() const {
  if (!layer().area().has_lower_records()) {
    return false;
  }
  const std::string& upper_name = layer().upper().name();
  const auto means_same = [](const Result<void>& compared) -> Result<bool> {
    if (!compared && compared.error().kind != ErrorKind::kInvalid) {
      return Failure(compared.error());
    }
    return compared.has_value();
  };
  UNIONFS_ASSIGN(const bool has_same_shape,
                 means_same(check_known_lower(layer().area(), new_lower_.volume(), upper_name)));
  if (!has_same_shape) {
    return false;
  }
  return means_same(LowerComparison(new_lower_.volume(), layer().upper(), layer().layer(),
                                    layer().lower_records(), is_cancelled_)
                        .compare_all());
}

Result<Geometry> Rebase::choose_geometry() const {
  const uint64_t least = new_lower_.layout().size_bytes();
  const uint64_t kept = std::max(outcome_.old_merged_bytes, least);
  return Geometry::grow(new_lower_.volume(), options_.size_bytes.value_or(kept));
}

Result<Plan> Rebase::make_plan(const Geometry& geometry) {
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  UNIONFS_ASSIGN(PlannedRebase planned,
                 plan_rebase({layer(), ours(), new_lower_.volume()}, options_.policy));
  outcome_.report = std::move(planned.report);
  if (outcome_.report.has_undecided()) {
    return Plan();  // which says nothing then
  }
  UNIONFS_ASSIGN(FoundLimits found, find_limits(planned.plan, new_lower_.volume(), geometry));
  std::vector<Conflict>& conflicts = outcome_.report.conflicts;
  std::move(found.conflicts.begin(), found.conflicts.end(), std::back_inserter(conflicts));
  std::stable_sort(conflicts.begin(), conflicts.end(),
                   [](const Conflict& a, const Conflict& b) { return a.path < b.path; });
  std::move(found.notes.begin(), found.notes.end(), std::back_inserter(outcome_.report.notes));
  return std::move(planned.plan);
}

// The time of what the making itself changes, which is no file's: the same from the same images.
uint32_t Rebase::time_of_change() const {
  return std::max({ours().superblock().raw().s_wtime.value(),
                   new_lower_.volume().superblock().raw().s_wtime.value(), uint32_t{1}});
}

Result<void> Rebase::make(const Plan& plan, const Geometry& geometry) {
  UNIONFS_TRY(create_layer(target_, new_lower_.volume(), geometry));
  UNIONFS_ASSIGN(const auto disk, Disk::load(new_lower_, target_, boot_id_, log_));
  UNIONFS_TRY(disk->attach(Access::kReadWrite));
  const Result<MadeFiles> made = make_files(plan, *disk);
  UNIONFS_TRY(disk->close());
  UNIONFS_TRY(made);
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  if (disk->has_session()) {
    UNIONFS_ASSIGN(outcome_.checkpoint,
                   disk->checkpoint(AskedBy::kPerson, is_cancelled_, made->hints));
  }
  return {};
}

Result<MadeFiles> Rebase::make_files(const Plan& plan, Disk& disk) {
  UNIONFS_ASSIGN(const auto files, MergedFiles::open(disk, time_of_change()));
  UNIONFS_ASSIGN(MadeFiles made, make_planned(plan, *files, MakingLine(progress_, target_.name())));
  UNIONFS_TRY(files->close());
  return made;
}

// Of what lies in the file, as whoever serves it will find it.
Result<void> Rebase::prove(const Plan& plan) {
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(new_lower_, target_, log_));
  if (layer->has_journal()) {
    return corrupt("{}: its checkpoint was not brought home", target_.name());
  }
  UNIONFS_ASSIGN(const auto merged, MergedImage::open("new merged image", layer->view()));
  UNIONFS_ASSIGN(outcome_.proof, check_planned(plan, *layer, merged->volume()));
  if (options_.verifies_all) {
    UNIONFS_ASSIGN(outcome_.verified_bytes,
                   check_unplanned(plan, new_lower_.volume(), merged->volume(), is_cancelled_));
  }
  return target_.sync();
}

}  // namespace

Result<RebaseOutcome> rebase(Disk& old, const Below& new_lower, WritableFile& target,
                             const RebaseOptions& options, const std::string& boot_id,
                             const LogSink& log, const LogSink& progress,
                             const std::atomic<bool>& is_cancelled) {
  return Rebase(old, new_lower, target, options, boot_id, log, progress, is_cancelled).run();
}

}  // namespace unionfs
