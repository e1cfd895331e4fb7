// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/check/upper_check.h"

#include <algorithm>
#include <memory>

#include "overlay/changes/foreign_tree.h"
#include "overlay/check/layer_check.h"
#include "overlay/check/lower_side.h"
#include "overlay/check/repair.h"
#include "overlay/check/void_check.h"
#include "overlay/disk.h"
#include "overlay/host/posix_file.h"
#include "overlay/look/look.h"
#include "overlay/merged/lower_image.h"
#include "overlay/upper/journal.h"
#include "overlay/upper/live_stamp.h"
#include "overlay/upper/lower_comparison.h"
#include "overlay/upper/session_bitmap.h"

namespace unionfs {
namespace {

// There is nothing to check in an upper that was made elsewhere.
Result<void> refuse_foreign(const ReadableFile& upper) {
  const auto superblock = Superblock::read(upper, SuperblockUse::kUpper);
  const auto is_foreign = ForeignTree::is_foreign(upper);
  if (superblock && is_foreign && *is_foreign) {
    Error error = required_mark_of(upper.name(), superblock->raw()).error();
    error.kind = ErrorKind::kInvalid;
    return Failure(std::move(error));
  }
  // The check itself says what is wrong with the upper's bytes.
  if (!superblock && !is_of_the_upper(superblock.error())) {
    return Failure(superblock.error());
  }
  if (!is_foreign && !is_of_the_upper(is_foreign.error())) {
    return Failure(is_foreign.error());
  }
  return {};
}

// A lower that no upper can be opened over, because its resize inode is damaged.
Result<void> check_can_grow(const Volume& lower) {
  const Layout& layout = lower.layout();
  const uint64_t group_bytes = uint64_t{layout.blocks_per_group} * layout.block_size_bytes;
  auto grown = Geometry::grow(lower, layout.size_bytes() + group_bytes);
  if (grown || grown.error().kind != ErrorKind::kCorrupt) {
    return {};  // that there is no room for one more group is no damage
  }
  return Failure(damaged_lower(std::move(grown).error()));
}

class UpperCheck {
 public:
  // `frozen` is that of Disk::load().
  UpperCheck(const Below& lower, const MergedView* frozen, WritableFile& upper_file,
             const LogSink& log)
      : lower_(lower), frozen_(frozen), upper_file_(upper_file), log_(log) {}

  Result<CheckReport> run(CheckPurpose purpose) {
    CheckReport report;
    UNIONFS_TRY(check());
    report.found = violations_;
    report.is_repair_tried =
        purpose == CheckPurpose::kRepair &&
        std::any_of(violations_.begin(), violations_.end(),
                    [](const Violation& violation) { return violation.can_repair; });
    if (report.is_repair_tried) {
      if (Result<void> repaired = repair(); repaired) {
        UNIONFS_TRY(check());
      } else {
        report.repair_failure = std::move(repaired).error();
      }
    }
    list_checked(report);
    UNIONFS_TRY(list_not_checked(report.not_checked));
    report.left = std::move(violations_);
    return report;
  }

 private:
  // Fills violations_; fails when no check is possible.
  Result<void> check() {
    violations_.clear();
    facts_.reset();
    opened_.reset();
    auto opened = open_upper(lower_.volume(), upper_file_, lower_.identity());
    if (!opened) {
      UNIONFS_TRY(check_can_grow(lower_.volume()));
      return take(std::move(opened).error());
    }
    opened_.emplace(std::move(*opened));
    std::optional<Violation> in_records;
    const Result<void> same_lower = check_lower(in_records);
    // Of a lower that is damaged, the check has more to say than that it differs.
    UNIONFS_ASSIGN(LayerFindings findings, check_layer(check_sources(lower_, *opened_)));
    UNIONFS_TRY(same_lower);
    violations_ = std::move(findings.violations);
    if (in_records) {
      violations_.push_back(std::move(*in_records));
    }
    facts_.emplace(std::move(findings.facts));
    UNIONFS_TRY(check_session_and_parent());
    return check_loading();
  }

  // What is no matter of the layer.
  Result<void> check_session_and_parent() {
    Violations found(upper_file_.name());
    if (!opened_->has_journal()) {  // which ends the session
      UNIONFS_ASSIGN(const bool is_live, is_session_live());
      const StateArea& area = opened_->area;
      UNIONFS_TRY(check_session_bits(*opened_, area.durable_bitmap, "durable bitmap", found));
      if (is_live) {
        UNIONFS_TRY(check_session_bits(*opened_, area.live_bitmap, "live bitmap", found));
      }
    }
    check_freeze_id(opened_->area, found);
    if (opened_->area.is_void()) {
      UNIONFS_TRY(check_void(*opened_, found));
    }
    violations_.insert(violations_.end(), found.list().begin(), found.list().end());
    return {};
  }

  // Compares all records.  What keeps a layer from being loaded is for the stages that
  // follow.
  Result<void> check_lower(std::optional<Violation>& in_records) {
    static const std::atomic<bool> is_cancelled{false};
    // What the openings of the layers below have left.
    for (const LayerOverLower* below = lower_.layer(); below != nullptr;
         below = below->layer_below()) {
      const LowerComparison comparison = below->lower_comparison(is_cancelled);
      for (const uint32_t index : below->uncompared()) {
        UNIONFS_TRY(comparison.compare(index));
      }
    }
    const auto layer = Layer::load(opened_->volume, *opened_->geometry, opened_->tables);
    if (!layer || !opened_->area.has_lower_records()) {
      const bool is_of_host = !layer && !is_of_the_upper(layer.error());
      return is_of_host ? Result<void>(Failure(layer.error())) : Result<void>();
    }
    const LowerComparison comparison(lower_.volume(), opened_->volume, *layer,
                                     opened_->lower_records, is_cancelled);
    Result<void> compared = comparison.compare_all();
    if (!compared && is_of_the_upper(compared.error())) {
      in_records = {std::move(compared).error().message, true};  // a repair makes them anew
      return {};
    }
    return compared;
  }

  // What a server would say.
  Result<void> check_loading() {
    UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
    auto disk = Disk::load(lower_, upper_file_, std::move(boot_id), log_, steady_clock(), frozen_);
    if (disk) {
      return (*disk)->attach(Access::kReadOnly);
    }
    const bool is_known = !violations_.empty() && is_of_the_upper(disk.error());
    return is_known ? Result<void>() : take(std::move(disk).error());
  }

  Result<void> take(Error error) {
    if (!is_of_the_upper(error)) {
      return Failure(std::move(error));
    }
    violations_.push_back({std::move(error.message), false});
    return {};
  }

  // Of the upper that was opened.
  Result<bool> is_session_live() {
    UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
    return is_live_current(upper_file_, opened_->area, boot_id);
  }

  Result<uint64_t> session_block_count() {
    if (opened_->has_journal()) {
      return uint64_t{0};  // which ended the session
    }
    const StateArea& area = opened_->area;
    UNIONFS_ASSIGN(const bool is_live, is_session_live());
    UNIONFS_ASSIGN(const auto bitmap,
                   SessionBitmap::open_for_reading(
                       upper_file_, is_live ? area.live_bitmap : area.durable_bitmap));
    return bitmap->count_set(BlockNumber(opened_->geometry->merged().block_count));
  }

  void list_checked(CheckReport& report) const {
    if (!opened_) {
      return;
    }
    report.is_void = opened_->area.is_void();
    if (!report.is_void) {
      report.checked.emplace_back("the layer");
      return;
    }
    report.checked.push_back(
        fmt::format("that it is void and stands on {}", describe_parent(opened_->area)));
    report.checked.push_back(fmt::format(
        "the empty layer over {}, in whose places its session lies, and the bounds of the session",
        lower_.name()));
  }

  Result<void> list_not_checked(std::vector<std::string>& parts) {
    if (!opened_) {
      parts.emplace_back("the layer, because the upper cannot be opened");
      return {};
    }
    if (!violations_.empty()) {
      parts.emplace_back("the counts of the merged image, because the layer itself is not sound");
    }
    UNIONFS_ASSIGN(const uint64_t session_blocks, session_block_count());
    const bool is_in_use = (opened_->area.flags & upper_format::kFlagInUse) != 0;
    if (session_blocks > 0 || is_in_use) {
      parts.push_back(fmt::format("the {} session ({} blocks written{})",
                                  opened_->area.is_frozen() ? "frozen" : "open", session_blocks,
                                  is_in_use ? " so far" : ""));
    }
    if (opened_->area.is_void()) {
      parts.push_back(fmt::format("the file system that it shows, which is of frozen sessions; {}",
                                  how_to_check_files()));
    }
    return {};
  }

  // Frozen levels get no checkpoint.
  std::string how_to_check_files() const {
    return opened_->area.is_frozen() ? "seal -o FILE makes a layer of it, which is checked, with "
                                       "--frozen or --fsck where "
                                       "it was mounted"
                                     : "a checkpoint makes a layer of it, which can be checked";
  }

  // A repair would drop what the session wrote, also where the layer is so
  // damaged that no server would show it.
  Result<void> refuse_session() {
    UNIONFS_ASSIGN(const uint64_t session_blocks, session_block_count());
    if (session_blocks > 0) {
      return invalid("{}: a session is open; checkpoint it before a repair", upper_file_.name());
    }
    return {};
  }

  Result<void> repair() {
    const std::string& name = upper_file_.name();
    if (opened_ && opened_->area.is_void()) {
      return invalid(
          "{}: not repaired: is void, so it has no layer from which anything could be derived",
          name);
    }
    UNIONFS_TRY(refuse_session());
    UNIONFS_TRY(check_may_write(name, opened_->area));
    if (opened_->has_journal()) {
      UNIONFS_TRY(check_may_write(name, opened_->journal_area));
      UNIONFS_TRY(finish_journal(upper_file_, opened_->journal_area));
      UNIONFS_TRY(check());
    }
    if (!facts_) {
      return corrupt("{}: not repaired: {}", name, violations_.front().message);
    }
    if (!facts_->files.has_all_blocks) {
      return invalid("{}: not repaired: the blocks of a damaged inode would become free", name);
    }
    return repair_upper(lower_, *opened_, *facts_, upper_file_);
  }

  const Below& lower_;
  const MergedView* const frozen_;
  WritableFile& upper_file_;
  const LogSink& log_;
  std::optional<OpenedUpper> opened_;
  std::optional<LayerFacts> facts_;  // of opened_
  std::vector<Violation> violations_;
};

Result<CheckReport> repair_at(const LevelPaths& level_paths, const std::string& upper_path,
                              const LogSink& log) {
  UNIONFS_ASSIGN(const auto chain,
                 Chain::open_below(level_paths, upper_path, FileLock::kShared, log));
  UNIONFS_ASSIGN(const auto upper_file, PosixFile::open(upper_path, FileLock::kExclusive));
  UNIONFS_TRY(refuse_foreign(*upper_file));
  UNIONFS_TRY(upper_file->make_writable());
  return check_upper(chain->top(), *upper_file, CheckPurpose::kRepair, log, chain->frozen_view());
}

}  // namespace

Result<CheckReport> check_upper(const LevelPaths& level_paths, const std::string& upper_path,
                                CheckPurpose purpose, const LogSink& log) {
  if (purpose == CheckPurpose::kRepair) {
    return repair_at(level_paths, upper_path, log);
  }
  UNIONFS_ASSIGN(const auto chain,
                 Chain::open_below(level_paths, upper_path, FileLock::kNone, log));
  return look_for<CheckReport>(upper_at(upper_path), [&](WritableFile& upper_file) {
    return check_upper(chain->top(), upper_file, CheckPurpose::kLook, log, chain->frozen_view());
  });
}

Result<CheckReport> check_upper(const Below& below, WritableFile& upper_file, CheckPurpose purpose,
                                const LogSink& log, const MergedView* frozen) {
  UNIONFS_TRY(refuse_foreign(upper_file));
  return UpperCheck(below, frozen, upper_file, log).run(purpose);
}

Result<CheckReport> check_upper(const ReadableFile& lower_file, WritableFile& upper_file,
                                CheckPurpose purpose, const LogSink& log) {
  UNIONFS_ASSIGN(const auto lower, LowerImage::open(lower_file));
  return check_upper(*lower, upper_file, purpose, log);
}

}  // namespace unionfs
