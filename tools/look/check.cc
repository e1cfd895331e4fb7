// SPDX-License-Identifier: BSD-3-Clause
//
// unionfs-img check: whether an upper keeps the contract, and mending it.
#include "overlay/check/upper_check.h"
#include "overlay/stack/seal.h"
#include "tools/command_line/arguments.h"
#include "tools/command_line/commands.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

struct CheckArguments : CommonArguments {
  bool repair = false;
  bool with_content = false;
};

std::string counted(size_t violations) {
  return fmt::format("{} {}", violations, violations == 1 ? "violation" : "violations");
}

void print_violations(const std::vector<Violation>& violations) {
  for (const Violation& violation : violations) {
    fmt::print("{}{}\n", violation.message, violation.can_repair ? " (can be repaired)" : "");
  }
}

void print_report(const std::string& upper, const CheckReport& report) {
  if (report.mended_count() > 0) {
    fmt::print("{}: {} repaired\n", printable(upper), counted(report.mended_count()));
  }
  print_violations(report.left);
  // What a check of a layer looks at goes without saying.
  for (const std::string& part : report.is_void ? report.checked : std::vector<std::string>()) {
    fmt::print("{}: checked: {}\n", printable(upper), part);
  }
  for (const std::string& part : report.not_checked) {
    fmt::print("{}: not checked: {}\n", printable(upper), part);
  }
  if (report.left.empty()) {
    fmt::print("{}: no violations found\n", printable(upper));
  } else {
    fmt::print("{}: {}\n", printable(upper), counted(report.left.size()));
  }
}

Json to_json(const std::string& upper, const CheckReport& report) {
  Json list = Json::array();
  for (const Violation& violation : report.left) {
    list.push_back({{"message", violation.message}, {"can-repair", violation.can_repair}});
  }
  return Json{{"upper", upper},
              {"corruptions", report.left.size()},
              {"corruptions-fixed", report.mended_count()},
              {"violations", std::move(list)},
              {"checked", report.checked},
              {"not-checked", report.not_checked}};
}

// Reads all that each sealed layer owns, the upper too if it is one.
Result<void> check_content(const CheckArguments& arguments, std::vector<Violation>& violations) {
  const std::atomic<bool> never{false};
  UNIONFS_ASSIGN(const auto chain,
                 Chain::open_below(arguments.levels, arguments.upper, FileLock::kNone, note));
  const auto check_one = [&](const LayerOverLower& layer) -> Result<void> {
    Result<void> same = check_sealed_content(layer, never);
    if (!same && same.error().kind == ErrorKind::kCorrupt) {
      violations.push_back({std::move(same).error().message, false});
      return {};
    }
    return same;
  };
  for (const auto& layer : chain->layers()) {
    if (layer->area().is_sealed()) {
      UNIONFS_TRY(check_one(*layer));
    }
  }
  UNIONFS_ASSIGN(const auto upper, PosixFile::open(arguments.upper, FileLock::kNone));
  const auto layer = LayerOverLower::load(chain->top(), *upper, note);
  return layer && (*layer)->area().is_sealed() ? check_one(**layer) : Result<void>();
}

Result<int> check(const CheckArguments& arguments) {
  const CheckPurpose purpose = arguments.repair ? CheckPurpose::kRepair : CheckPurpose::kLook;
  UNIONFS_ASSIGN(CheckReport report, check_upper(arguments.levels, arguments.upper, purpose, note));
  if (arguments.with_content) {
    UNIONFS_TRY(check_content(arguments, report.left));
  }
  if (report.is_repair_tried && !arguments.as_json) {
    print_violations(report.found);
  }
  if (report.repair_failure) {
    return Failure(*report.repair_failure);
  }
  if (arguments.as_json) {
    print_json(to_json(arguments.upper, report));
  } else {
    print_report(arguments.upper, report);
  }
  return report.left.empty() ? kExitSuccess : kExitDamaged;
}

}  // namespace

void add_check(CLI::App& app, Command& chosen) {
  CLI::App* command =
      app.add_subcommand("check", "Verify that the layer keeps its contract over the lower");
  const auto arguments = std::make_shared<CheckArguments>();
  command->add_flag("--repair", arguments->repair, "Rebuild what can be derived");
  command->add_flag("--content", arguments->with_content,
                    "Also read all that sealed layers own, and compare it with their digests");
  add_common(*command, *arguments, LowerArgument::kRequired);
  command->callback([arguments, &chosen] { chosen = [arguments] { return check(*arguments); }; });
}

}  // namespace unionfs::img
