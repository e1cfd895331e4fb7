// SPDX-License-Identifier: BSD-3-Clause
//
// The report of a rebase for programs.
#include "tools/command_line/state_json.h"
#include "tools/make/rebase_report.h"

namespace unionfs::img {
namespace {

constexpr int kRebaseFormat = 1;

Json paths_json(const std::vector<std::string>& paths) {
  Json json = Json::array();
  for (const std::string& path : paths) {
    Json element = Json::object();
    put_bytes(element, "path", path);
    json.push_back(std::move(element));
  }
  return json;
}

Json side_json(const std::optional<FileState>& side) {
  return side ? img::to_json(*side) : Json(nullptr);
}

Json conflict_json(const Conflict& conflict) {
  Json json{{"class", name_of(conflict.conflict_class)}};
  put_bytes(json, "path", conflict.path);
  if (!conflict.from.empty()) {
    put_bytes(json, "from", conflict.from);
  }
  json["ours"] = side_json(conflict.ours);
  json["theirs"] = side_json(conflict.theirs);
  json["base"] = side_json(conflict.base);
  const bool is_decided = conflict.resolution != Resolution::kNone;
  json["resolution"] = is_decided ? Json(name_of(conflict.resolution)) : Json(nullptr);
  if (is_decided) {
    put_bytes(json, "decided_by", conflict.decided_by);
  }
  if (!conflict.resulting_path.empty()) {
    put_bytes(json, "resulting_path", conflict.resulting_path);
  }
  if (!conflict.fields.empty()) {
    json["fields"] = Json::array();
    for (const std::string& field : conflict.fields) {
      json["fields"].push_back(printable(field));
    }
  }
  json["links"] = paths_json(conflict.links);
  json["text"] = printable_line(conflict.text);
  return json;
}

Json lower_json(const RebasedLower& lower) {
  const Superblock& superblock = lower.volume->superblock();
  const auto& label = superblock.raw().s_volume_name;
  const std::string_view all(reinterpret_cast<const char*>(label.data()), label.size());
  Json json = Json::object();
  put_bytes(json, "path", lower.path);
  json["uuid"] = uuid_text(superblock.raw().s_uuid);
  put_bytes(json, "label", all.substr(0, all.find('\0')));
  json["size"] = lower.volume->layout().size_bytes();
  json["block_size"] = lower.volume->layout().block_size_bytes;
  json["inode_size"] = lower.volume->layout().inode_size_bytes;
  json["merged_size"] = lower.merged_bytes;
  return json;
}

const char* status_of(const RebaseSummary& summary) {
  const RebaseOutcome& outcome = summary.outcome;
  return outcome.is_same_lower            ? "nothing-to-do"
         : outcome.is_done                ? "done"
         : outcome.report.has_undecided() ? "conflicts"
         : outcome.report.has_limits()    ? "limits"
                                          : "would-be-done";
}

}  // namespace

Json rebase_json(const RebaseSummary& summary) {
  const RebaseReport& report = summary.outcome.report;
  Json json{{"format", kRebaseFormat}, {"status", status_of(summary)}};
  put_bytes(json, "upper", summary.upper);
  if (summary.output) {
    put_bytes(json, "output", *summary.output);
  }
  if (!summary.kept_as.empty()) {
    put_bytes(json, "kept_as", summary.kept_as);
  }
  json["dry_run"] = summary.is_dry_run;
  json["old"] = summary.old_lower ? lower_json(*summary.old_lower) : Json(nullptr);
  json["new"] = lower_json(summary.new_lower);
  json["session_blocks"] = summary.session_blocks;
  json["applied"] = report.applied.size();
  json["merged"] = report.merged.size();
  json["dropped"] = report.dropped.size();
  json["applied_paths"] = paths_json(report.applied);
  json["merged_paths"] = paths_json(report.merged);
  json["dropped_paths"] = paths_json(report.dropped);
  json["conflicts"] = Json::array();
  for (const Conflict& conflict : report.conflicts) {
    json["conflicts"].push_back(conflict_json(conflict));
  }
  json["notes"] = Json::array();
  for (const RebaseNote& note : report.notes) {
    Json element{{"kind", note.kind}};
    put_bytes(element, "path", note.path);
    element["text"] = printable_line(note.text);
    json["notes"].push_back(std::move(element));
  }
  json["bytes_compared"] = report.bytes_compared;
  if (summary.outcome.is_done) {
    json["proof"] = Json{{"names", summary.outcome.proof.names},
                         {"bytes", summary.outcome.proof.bytes},
                         {"verified_bytes", summary.outcome.verified_bytes}};
  }
  return json;
}

}  // namespace unionfs::img
