// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img rebase --chain: all layers and the upper are made anew over another lower.
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "overlay/changes/foreign_tree.h"
#include "overlay/host/process.h"
#include "overlay/host/staged_directory.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/stack/seal.h"
#include "tools/command_line/commands.h"
#include "tools/make/rebase_arguments.h"
#include "tools/make/rebase_report.h"

namespace unionfs::img {
namespace {

constexpr uint32_t kRebasedWriteBits = 0222;
const std::atomic<bool> chain_never_cancelled{false};

std::string file_name_in(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

// A level that was made anew, and what the next one stands on.
struct RebasedLevel {
  std::unique_ptr<PosixFile> file;
  std::unique_ptr<LayerOverLower> layer;
  std::unique_ptr<LayerBelow> below;
};

class ChainRebase {
 public:
  explicit ChainRebase(const RebaseArguments& arguments) : arguments_(arguments) {}

  Result<int> run() {
    UNIONFS_TRY(open());
    UNIONFS_TRY(check_levels());
    UNIONFS_TRY(check_names());
    for (size_t i = 0; i <= old_->layers().size(); ++i) {
      UNIONFS_ASSIGN(const int status, carry_over(i));
      if (status != kExitSuccess) {
        return tell(status);
      }
    }
    if (staged_) {
      UNIONFS_TRY(staged_->publish());
    }
    return tell(kExitSuccess);
  }

 private:
  Result<void> open() {
    if (!arguments_.is_dry_run) {
      UNIONFS_TRY(check_absent(arguments_.output));
      UNIONFS_TRY(check_can_appear(arguments_.output));
    }
    UNIONFS_ASSIGN(boot_id_, read_boot_id());
    UNIONFS_ASSIGN(old_,
                   Chain::open_below(arguments_.levels, arguments_.upper, FileLock::kShared, note));
    UNIONFS_ASSIGN(new_, Chain::open(arguments_.onto, FileLock::kShared, note));
    UNIONFS_ASSIGN(upper_, PosixFile::open(arguments_.upper, FileLock::kExclusive));
    UNIONFS_ASSIGN(const bool is_foreign, ForeignTree::is_foreign(*upper_));
    if (is_foreign) {
      return invalid(
          "{}: was made elsewhere and is not imported yet, so there is no layer to carry "
          "over",
          arguments_.upper);
    }
    UNIONFS_TRY(check_has_layer(*upper_, arguments_.upper, old_->as_options()));
    if (!arguments_.is_dry_run) {
      UNIONFS_ASSIGN(staged_, StagedDirectory::create_for(arguments_.output));
    }
    return {};
  }

  Result<void> check_levels() const {
    for (const auto& layer : old_->layers()) {
      if (layer->area().is_frozen()) {
        return unsupported(
            "{}: has a frozen session, and only layers can be carried over; make a layer of it "
            "first "
            "(unionfs-img squash, or seal -o FILE where it is the only level), or carry over {} "
            "alone, without --chain",
            layer->upper_file().name(), arguments_.upper);
      }
      if (is_nbd_uri(layer->upper_file().name())) {
        return unsupported("{}: is at another server, so its copy would have no name; give a file",
                           layer->upper_file().name());
      }
    }
    return {};
  }

  // All levels come to lie in one directory.
  Result<void> check_names() const {
    std::vector<std::string> names = {file_name_in(arguments_.upper)};
    for (const auto& layer : old_->layers()) {
      const std::string name = file_name_in(layer->upper_file().name());
      if (std::find(names.begin(), names.end(), name) != names.end()) {
        return invalid("two levels are called {}, and cannot lie in one directory",
                       quoted_name(name));
      }
      names.push_back(name);
    }
    return {};
  }

  // The last one is the upper.
  bool is_upper(size_t index) const { return index == old_->layers().size(); }
  const std::string& path_of(size_t index) const {
    return is_upper(index) ? arguments_.upper : old_->layers()[index]->upper_file().name();
  }
  const Below& old_below(size_t index) const {
    return is_upper(index) ? old_->top() : old_->layers()[index]->below();
  }
  const Below& new_below() const { return made_.empty() ? new_->top() : *made_.back().below; }

  Result<int> carry_over(size_t index) {
    std::unique_ptr<PosixFile> opened;
    if (!is_upper(index)) {
      UNIONFS_ASSIGN(opened, PosixFile::open(path_of(index), FileLock::kSharedUpper));
    }
    PosixFile& file = is_upper(index) ? *upper_ : *opened;
    UNIONFS_ASSIGN(const auto disk, Disk::load(old_below(index), file, boot_id_, note));
    UNIONFS_TRY(disk->attach(Access::kReadOnly));
    UNIONFS_ASSIGN(auto target, create_target(path_of(index), file));
    RebaseOptions options;
    options.policy = arguments_.policy;
    options.verifies_all = arguments_.verifies_all;
    options.always_makes = true;
    const LogSink progress = ::isatty(STDERR_FILENO) == 1 ? LogSink(note) : LogSink();
    UNIONFS_ASSIGN(RebaseOutcome result, rebase(*disk, new_below(), *target, options, boot_id_,
                                                note, progress, chain_never_cancelled));
    add_report(index, *disk, std::make_unique<RebaseOutcome>(std::move(result)));
    const RebaseOutcome& outcome = *outcomes_.back();
    if (!outcome.is_done) {
      return outcome.report.has_undecided() ? kExitConflicts : kExitFailure;
    }
    UNIONFS_TRY(finish(std::move(target), disk->state_area().is_sealed()));
    return kExitSuccess;
  }

  Result<std::unique_ptr<PosixFile>> create_target(const std::string& path, const PosixFile& from) {
    if (!staged_) {
      return PosixFile::create_in_memory();
    }
    UNIONFS_ASSIGN(auto target,
                   PosixFile::create_for(staged_->hidden_path() + "/" + file_name_in(path)));
    UNIONFS_TRY(target->set_mode(target->mode() & target->mode_for_data_of(from) &
                                 new_->mode_for_data_in(*target)));
    return target;
  }

  Result<void> finish(std::unique_ptr<PosixFile> file, bool is_sealed) {
    RebasedLevel level{std::move(file), nullptr, nullptr};
    if (is_sealed) {
      UNIONFS_TRY(seal_upper(new_below(), *level.file, note, chain_never_cancelled));
      UNIONFS_TRY(level.file->set_mode(level.file->mode() & ~kRebasedWriteBits));
    }
    UNIONFS_ASSIGN(level.layer, LayerOverLower::load(new_below(), *level.file, note));
    UNIONFS_ASSIGN(level.below, LayerBelow::open(*level.layer));
    if (staged_) {
      UNIONFS_TRY(level.file->publish());
    }
    made_.push_back(std::move(level));
    return {};
  }

  // Of this level; printed when it is known what became of all.
  void add_report(size_t index, const Disk& disk, std::unique_ptr<RebaseOutcome> outcome) {
    const std::string& path = path_of(index);
    summaries_.push_back(
        {.old_lower = RebasedLower{old_below(index).name(), &old_below(index).volume(),
                                   outcome->old_merged_bytes},
         .new_lower = {new_below().name(), &new_below().volume(), outcome->new_merged_bytes},
         .upper = path,
         .output = arguments_.output + "/" + file_name_in(path),
         .kept_as = {},
         .session_blocks = disk.session_block_count(),
         .is_dry_run = arguments_.is_dry_run,
         .outcome = *outcome});
    outcomes_.push_back(std::move(outcome));
  }

  // Of all levels, or of the one that stopped it.
  int tell(int status) const {
    const bool is_done = status == kExitSuccess;
    Json levels = Json::array();
    for (size_t i = is_done ? 0 : summaries_.size() - 1; i < summaries_.size(); ++i) {
      if (arguments_.as_json) {
        levels.push_back(rebase_json(summaries_[i]));
      } else {
        print_rebase(summaries_[i]);
      }
    }
    if (arguments_.as_json) {
      print_json(Json{{"format", 1}, {"done", is_done}, {"levels", std::move(levels)}});
    } else if (!is_done) {
      note("no level is moved, because not all can be");
    }
    return status;
  }

  const RebaseArguments& arguments_;
  std::string boot_id_;
  std::unique_ptr<Chain> old_;
  std::unique_ptr<Chain> new_;
  std::unique_ptr<PosixFile> upper_;
  std::unique_ptr<StagedDirectory> staged_;  // none in a dry run
  std::vector<RebasedLevel> made_;
  std::vector<std::unique_ptr<RebaseOutcome>> outcomes_;
  std::vector<RebaseSummary> summaries_;  // refer to all of this
};

}  // namespace

Result<int> rebase_chain(const RebaseArguments& arguments) {
  if (arguments.is_without_old || arguments.levels.empty()) {
    return invalid("--chain needs all levels as they were: give -b for the lower and each layer");
  }
  if (arguments.output.empty() && !arguments.is_dry_run) {
    return invalid("--chain needs -o DIR, a new directory for the layers and the upper");
  }
  return ChainRebase(arguments).run();
}

}  // namespace unionfs::img
