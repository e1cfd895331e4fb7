// SPDX-License-Identifier: BSD-3-Clause
//
// The report of a rebase for people.
#include "tools/make/rebase_report.h"

#include <fmt/ranges.h>

#include <map>

namespace unionfs::img {
namespace {

// "1 name", "2 names".
std::string counted(uint64_t count, const char* one, const char* several) {
  return fmt::format("{} {}", count, count == 1 ? one : several);
}

std::string shown_path(const std::string& path) {
  return path.empty() ? "(the image itself)" : printable(path);
}

// What a side is, as much as a line has room for.
std::string side_text(const char* name, const std::optional<FileState>& side) {
  if (!side) {
    return fmt::format("{}: none", name);
  }
  const FileState& state = *side;
  std::string text =
      fmt::format("{}: {} {}:{}", name, mode_text(state.mode), state.user_id, state.group_id);
  if (state.is_regular()) {
    text += fmt::format(" {} bytes", state.size_bytes);
  } else if (state.type() == ext2::kModeSymlink) {
    text += " -> " + printable(state.target);
  }
  return text;
}

void print_conflict(const Conflict& conflict) {
  std::string line = "  ";
  if (!conflict.from.empty()) {
    line += printable(conflict.from) + " -> ";
  }
  line += shown_path(conflict.path);
  if (!conflict.fields.empty()) {
    std::vector<std::string> fields;
    for (const std::string& field : conflict.fields) {
      fields.push_back(printable(field));
    }
    line += fmt::format(" ({})", fmt::join(fields, ", "));
  }
  if (conflict.resolution != Resolution::kNone) {
    line += fmt::format(": {}", name_of(conflict.resolution));
    if (!conflict.resulting_path.empty()) {
      line += fmt::format(", ours as {}", printable(conflict.resulting_path));
    }
    line += fmt::format(", by {}", printable(conflict.decided_by));
  }
  fmt::print("{}\n", line);
  if (!conflict.text.empty()) {
    fmt::print("      {}\n", printable_line(conflict.text));
  }
  if (conflict.ours || conflict.theirs || conflict.base) {
    fmt::print("      {}; {}; {}\n", side_text("ours", conflict.ours),
               side_text("theirs", conflict.theirs), side_text("base", conflict.base));
  }
  for (const std::string& link : conflict.links) {
    fmt::print("      also named {}\n", printable(link));
  }
}

void print_conflicts(const std::vector<Conflict>& conflicts) {
  std::map<ConflictClass, std::vector<const Conflict*>> by_class;
  for (const Conflict& conflict : conflicts) {
    by_class[conflict.conflict_class].push_back(&conflict);
  }
  for (const auto& [conflict_class, list] : by_class) {
    fmt::print("{}: {}\n", name_of(conflict_class), list.size());
    for (const Conflict* conflict : list) {
      print_conflict(*conflict);
    }
  }
}

void print_notes(const std::vector<RebaseNote>& notes) {
  std::map<std::string_view, std::vector<const RebaseNote*>> by_kind;
  for (const RebaseNote& note : notes) {
    by_kind[note.kind].push_back(&note);
  }
  for (const auto& [kind, list] : by_kind) {
    fmt::print("note {}: {}\n", kind, list.size());
    for (const RebaseNote* note : list) {
      fmt::print("  {}{}{}\n", printable(note->path), note->path.empty() ? "" : ": ",
                 printable_line(note->text));
    }
  }
}

void print_counts(const RebaseReport& report) {
  uint64_t undecided = 0;
  for (const Conflict& conflict : report.conflicts) {
    undecided += conflict.resolution == Resolution::kNone ? 1 : 0;
  }
  fmt::print("{} applied, {} merged, {} dropped, {}", report.applied.size(), report.merged.size(),
             report.dropped.size(), counted(report.conflicts.size(), "conflict", "conflicts"));
  fmt::print("{}, {}\n", report.conflicts.empty() ? "" : fmt::format(" ({} undecided)", undecided),
             counted(report.notes.size(), "note", "notes"));
}

std::string command_line(const RebaseSummary& summary, const char* options) {
  const std::string old =
      summary.old_lower ? "-b " + shell_word(summary.old_lower->path) : "--without-old";
  return fmt::format(
      "unionfs-img rebase {} --onto {}{}{} {}", old, shell_word(summary.new_lower.path), options,
      summary.output ? " -o " + shell_word(*summary.output) : "", shell_word(summary.upper));
}

void print_end(const RebaseSummary& summary) {
  const RebaseOutcome& outcome = summary.outcome;
  const std::string upper = printable(summary.upper);
  if (outcome.report.has_undecided()) {
    fmt::print(
        "{}: nothing was changed, because conflicts are left; decide, for example with\n"
        "  {}\n",
        upper, command_line(summary, " --conflicts=theirs"));
  } else if (outcome.report.has_limits()) {
    fmt::print("{}: nothing was changed, because it does not fit over {}\n", upper,
               printable(summary.new_lower.path));
  } else if (!outcome.is_done) {
    fmt::print("{}: nothing was changed; the same without --dry-run carries it over {}\n", upper,
               printable(summary.new_lower.path));
  } else {
    const std::string& made = summary.output ? *summary.output : summary.upper;
    fmt::print("{}: lies over {} now, merged size {} ({} bytes), proven by {} and {} of files\n",
               printable(made), printable(summary.new_lower.path),
               human_size(outcome.new_merged_bytes), outcome.new_merged_bytes,
               counted(outcome.proof.names, "name", "names"), human_size(outcome.proof.bytes));
    if (!summary.kept_as.empty()) {
      fmt::print("what was there is kept as {}; look at the new one with\n",
                 printable(summary.kept_as));
    } else {
      fmt::print("look at it with\n");
    }
    fmt::print("  unionfs-img diff -b {} {}\n", shell_word(summary.new_lower.path),
               shell_word(made));
  }
}

}  // namespace

void print_rebase(const RebaseSummary& summary) {
  const RebaseOutcome& outcome = summary.outcome;
  if (outcome.is_same_lower) {
    fmt::print("{}: {} is as the lower that it was made over, wherever it matters: nothing to do\n",
               printable(summary.upper), printable(summary.new_lower.path));
    return;
  }
  print_counts(outcome.report);
  print_conflicts(outcome.report.conflicts);
  print_notes(outcome.report.notes);
  if (summary.session_blocks > 0) {
    fmt::print("the open session of {} counts as a part of the layer\n",
               counted(summary.session_blocks, "block", "blocks"));
  }
  print_end(summary);
}

}  // namespace unionfs::img
