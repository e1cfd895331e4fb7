// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img check: whether an upper keeps the contract, and mending it.
#include <algorithm>

#include "overlay/changes/foreign_tree.h"
#include "overlay/check/checked_upper.h"
#include "overlay/merged/lower_image.h"
#include "overlay/upper/journal.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct CheckArguments : CommonArguments {
  bool repair = false;
};

// Errors of the upper's bytes are what a check is for; others end it.
bool is_of_the_upper(const Error& error) {
  return error.kind == ErrorKind::kCorrupt || error.kind == ErrorKind::kUnsupported;
}

std::string counted(size_t violations) {
  return fmt::format("{} {}", violations, violations == 1 ? "violation" : "violations");
}

class Checker {
 public:
  explicit Checker(const CheckArguments& arguments) : arguments_(arguments) {}

  Result<int> run() {
    UNIONFS_ASSIGN(lower_file_, PosixFile::open(arguments_.lower, FileLock::kShared));
    UNIONFS_ASSIGN(lower_, LowerImage::open(*lower_file_));
    const FileLock lock = arguments_.repair ? FileLock::kExclusive : FileLock::kShared;
    UNIONFS_ASSIGN(upper_file_, PosixFile::open(arguments_.upper, lock));
    UNIONFS_TRY(refuse_foreign());
    if (arguments_.repair) {
      UNIONFS_TRY(upper_file_->make_writable());
    }
    UNIONFS_TRY(check());
    if (arguments_.repair && std::any_of(violations_.begin(), violations_.end(),
                                         [](const Violation& v) { return v.can_repair; })) {
      if (!arguments_.as_json) {
        print_violations();
      }
      UNIONFS_TRY(repair());
      mended_ = violations_.size();
      UNIONFS_TRY(check());
      mended_ -= std::min(mended_, violations_.size());
    }
    print_result();
    return violations_.empty() ? kExitSuccess : kExitDamaged;
  }

 private:
  // There is nothing to check in an upper that was made elsewhere.
  Result<void> refuse_foreign() const {
    const auto superblock = Superblock::read(*upper_file_, SuperblockUse::kUpper);
    const auto is_foreign = ForeignTree::is_foreign(*upper_file_);
    if (superblock && is_foreign && *is_foreign) {
      auto error = required_mark_of(arguments_.upper, superblock->raw()).error();
      error.kind = ErrorKind::kInvalid;
      return Failure(std::move(error));
    }
    return {};
  }

  // Fills violations_; fails when no check is possible.
  Result<void> check() {
    violations_.clear();
    found_.reset();
    auto loaded = open_upper(lower_->volume(), *upper_file_);
    if (!loaded) {
      return take(std::move(loaded).error());
    }
    checked_.emplace(std::move(*loaded));
    found_.emplace(check_sources(*lower_, *checked_));
    found_->run();
    violations_ = found_->violations();
    return check_loading();
  }

  // What a server would say.
  Result<void> check_loading() {
    UNIONFS_ASSIGN(std::string boot_id, read_boot_id());
    auto disk = Disk::load(*lower_, *upper_file_, std::move(boot_id), note);
    if (disk) {
      UNIONFS_TRY((*disk)->attach(Access::kReadOnly));
      session_blocks_ = (*disk)->session_block_count();
      return {};
    }
    const bool is_known = !violations_.empty();
    return is_known ? Result<void>() : take(std::move(disk).error());
  }

  Result<void> take(Error error) {
    if (!is_of_the_upper(error)) {
      return Failure(std::move(error));
    }
    violations_.push_back({std::move(error.message), false});
    return {};
  }

  Result<void> repair() {
    if (session_blocks_ > 0) {
      return invalid("{}: a session is open; checkpoint it before a repair", arguments_.upper);
    }
    UNIONFS_TRY(check_may_write(arguments_.upper, checked_->area));
    if (checked_->has_journal()) {
      UNIONFS_TRY(check_may_write(arguments_.upper, checked_->journal_area));
      UNIONFS_TRY(finish_journal(*upper_file_, checked_->journal_area));
      UNIONFS_TRY(check());
    }
    if (!found_->has_all_blocks()) {
      return invalid("{}: not repaired: the blocks of a damaged inode would become free",
                     arguments_.upper);
    }
    return repair_upper(*lower_, *checked_, *found_, *upper_file_);
  }

  void print_violations() const {
    for (const Violation& violation : violations_) {
      fmt::print("{}{}\n", printable(violation.message),
                 violation.can_repair ? " (can be repaired)" : "");
    }
  }

  void print_result() const {
    if (arguments_.as_json) {
      Json list = Json::array();
      for (const Violation& violation : violations_) {
        list.push_back(
            {{"message", printable(violation.message)}, {"can-repair", violation.can_repair}});
      }
      print_json(Json{{"upper", arguments_.upper},
                      {"corruptions", violations_.size()},
                      {"corruptions-fixed", mended_},
                      {"violations", std::move(list)}});
      return;
    }
    if (mended_ > 0) {
      fmt::print("{}: {} repaired\n", arguments_.upper, counted(mended_));
    }
    print_violations();
    if (violations_.empty()) {
      fmt::print("{}: no violations found\n", arguments_.upper);
    } else {
      fmt::print("{}: {}\n", arguments_.upper, counted(violations_.size()));
    }
  }

  const CheckArguments& arguments_;
  std::unique_ptr<PosixFile> lower_file_;
  std::unique_ptr<PosixFile> upper_file_;
  std::unique_ptr<LowerImage> lower_;
  std::optional<OpenedUpper> checked_;
  std::optional<LayerCheck> found_;
  std::vector<Violation> violations_;
  uint64_t session_blocks_ = 0;
  size_t mended_ = 0;
};

}  // namespace

void add_check(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("check", "Verify that the layer keeps its contract over the lower");
  const auto arguments = std::make_shared<CheckArguments>();
  command->add_flag("--repair", arguments->repair, "Rebuild what can be derived");
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback(
      [arguments, &chosen] { chosen = [arguments] { return Checker(*arguments).run(); }; });
}

}  // namespace unionfs::img
