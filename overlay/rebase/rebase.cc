// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/rebase.h"

#include <algorithm>

#include "overlay/changes/planned_layer.h"
#include "overlay/host/cancellation.h"
#include "overlay/rebase/limits.h"
#include "overlay/rebase/unplanned_check.h"
#include "overlay/upper/lower_identity.h"

namespace unionfs {
namespace {

class Rebase {
 public:
  // One of `old` and `alone`.
  Rebase(Disk* old, LayerAlone* alone, const Below& new_lower, WritableFile& target,
         const RebaseOptions& options, const std::string& boot_id, const LogSink& log,
         const LogSink& progress, const std::atomic<bool>& is_cancelled)
      : old_(old),
        alone_(alone),
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
  Result<bool> is_same_lower(const StateArea& area, const Volume& upper, const Layer& layer,
                             const LowerRecords& records) const;
  Result<Geometry> choose_geometry() const;
  Result<Plan> make_plan(const Geometry& geometry);
  Result<void> make(const Plan& plan, const Geometry& geometry);
  Result<void> verify_all(const Plan& plan);
  uint32_t time_of_change() const;
  const LayerOverLower& layer() const { return next_ ? next_->layer() : old_->layer(); }
  const Volume& ours() const { return next_ ? next_->merged() : merged_->volume(); }

  Disk* const old_;
  LayerAlone* const alone_;
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
  if (old_ != nullptr) {
    UNIONFS_TRY(compare_old_lower());
    UNIONFS_TRY(open_ours());
  }
  outcome_.old_merged_bytes =
      old_ != nullptr ? old_->geometry().size_bytes() : alone_->merged_bytes();
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
  outcome_.is_done = true;
  return std::move(outcome_);
}

// What load() left: a layer must not be read over bytes that it was not made over.
Result<void> Rebase::compare_old_lower() {
  const LowerComparison comparison = old_->layer().lower_comparison(is_cancelled_);
  for (const uint32_t index : old_->layer().uncompared()) {
    UNIONFS_TRY(check_not_cancelled(is_cancelled_));
    UNIONFS_TRY(comparison.compare(index));
  }
  return {};
}

Result<void> Rebase::open_ours() {
  if (old_->session_block_count() == 0) {
    UNIONFS_ASSIGN(merged_, MergedImage::open("old merged image", old_->layer().view()));
    return {};
  }
  Result<std::unique_ptr<NextLayer>> next = old_->next_layer();
  if (!next) {
    Error error = std::move(next).error();
    error.message = fmt::format(
        "{}: has an open session that cannot become a layer, so it cannot be carried over: {}; "
        "mount and unmount it, or have it checked with: unionfs-img checkpoint --fsck",
        old_->layer().upper().name(), error.message);
    return Failure(std::move(error));
  }
  next_ = std::move(*next);
  return {};
}

// By the records of the layer as it would be with its session: only so nothing of another
// lower can show through a block that the session wrote.
Result<bool> Rebase::is_same_lower() const {
  if (old_ == nullptr) {
    return is_same_lower(alone_->area(), alone_->upper(), alone_->layer(), alone_->records());
  }
  return is_same_lower(layer().area(), layer().upper(), layer().layer(), layer().lower_records());
}

Result<bool> Rebase::is_same_lower(const StateArea& area, const Volume& upper, const Layer& layer,
                                   const LowerRecords& records) const {
  if (!area.has_lower_records()) {
    return false;
  }
  const auto means_same = [](const Result<void>& compared) -> Result<bool> {
    if (!compared && compared.error().kind != ErrorKind::kInvalid) {
      return Failure(compared.error());
    }
    return compared.has_value();
  };
  UNIONFS_ASSIGN(const bool has_same_shape,
                 means_same(check_known_lower(area, new_lower_.volume(), upper.name())));
  if (!has_same_shape) {
    return false;
  }
  return means_same(
      LowerComparison(new_lower_.volume(), upper, layer, records, is_cancelled_).compare_all());
}

Result<Geometry> Rebase::choose_geometry() const {
  const uint64_t least = new_lower_.layout().size_bytes();
  const uint64_t kept = std::max(outcome_.old_merged_bytes, least);
  return Geometry::grow(new_lower_.volume(), options_.size_bytes.value_or(kept));
}

Result<Plan> Rebase::make_plan(const Geometry& geometry) {
  UNIONFS_TRY(check_not_cancelled(is_cancelled_));
  UNIONFS_ASSIGN(PlannedRebase planned,
                 old_ != nullptr
                     ? plan_rebase({layer(), ours(), new_lower_.volume()}, options_.policy)
                     : plan_without_old(*alone_, options_.policy));
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
  const Volume& before = old_ != nullptr ? ours() : alone_->upper();
  return std::max({before.superblock().raw().s_wtime.value(),
                   new_lower_.volume().superblock().raw().s_wtime.value(), uint32_t{1}});
}

Result<void> Rebase::make(const Plan& plan, const Geometry& geometry) {
  UNIONFS_ASSIGN(const PlannedLayer made,
                 make_planned_layer(plan, target_,
                                    {new_lower_, geometry, time_of_change(), boot_id_, log_,
                                     progress_, is_cancelled_}));
  outcome_.checkpoint = made.checkpoint;
  outcome_.proof = made.proof;
  if (options_.verifies_all) {
    UNIONFS_TRY(verify_all(plan));
  }
  return target_.sync();
}

Result<void> Rebase::verify_all(const Plan& plan) {
  UNIONFS_ASSIGN(const auto layer, LayerOverLower::load(new_lower_, target_, log_));
  UNIONFS_ASSIGN(const auto merged, MergedImage::open("new merged image", layer->view()));
  UNIONFS_ASSIGN(outcome_.verified_bytes,
                 check_unplanned(plan, new_lower_.volume(), merged->volume(), is_cancelled_));
  return {};
}

}  // namespace

Result<RebaseOutcome> rebase(Disk& old, const Below& new_lower, WritableFile& target,
                             const RebaseOptions& options, const std::string& boot_id,
                             const LogSink& log, const LogSink& progress,
                             const std::atomic<bool>& is_cancelled) {
  return Rebase(&old, nullptr, new_lower, target, options, boot_id, log, progress, is_cancelled)
      .run();
}

Result<RebaseOutcome> rebase_without_old(LayerAlone& layer, const Below& new_lower,
                                         WritableFile& target, const RebaseOptions& options,
                                         const std::string& boot_id, const LogSink& log,
                                         const LogSink& progress,
                                         const std::atomic<bool>& is_cancelled) {
  return Rebase(nullptr, &layer, new_lower, target, options, boot_id, log, progress, is_cancelled)
      .run();
}

}  // namespace unionfs
