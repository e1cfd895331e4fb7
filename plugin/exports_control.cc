// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/exports_control.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "overlay/service/export_name.h"

namespace unionfs {
namespace {

using AllFacts = std::vector<ExportFacts>;

ControlResult which_export() {
  return {ControlOutcome::kMistaken, "this server has many disks: say which, with ?export=NAME"};
}

// Of Exports::visit() and facts_of().
ControlResult refusal(const Error& error) {
  const ControlOutcome outcome = error.kind == ErrorKind::kInvalid ? ControlOutcome::kMistaken
                                 : error.error_number == ENOENT    ? ControlOutcome::kUnknown
                                 : error.error_number == EBUSY     ? ControlOutcome::kRefused
                                                                   : ControlOutcome::kFailed;
  return {outcome, error.message};
}

ControlJson export_json(const ExportFacts& facts) {
  ControlJson json{
      {"name", facts.name},
      {"clients", facts.clients},
      {"has-upper", facts.has_upper},
      {"checkpoints", {{"made", facts.checkpoints.made}, {"refused", facts.checkpoints.refused}}}};
  add_disk_facts(json, facts.overlay);
  return json;
}

uint64_t clients_of(const AllFacts& all) {
  return std::accumulate(
      all.begin(), all.end(), uint64_t{0},
      [](uint64_t sum, const ExportFacts& facts) { return sum + facts.clients; });
}

// Of the server; `all` are the exports that are open.
void add_totals(MetricsText& metrics, const AllFacts& all, size_t left_out) {
  const auto failed = std::count_if(
      all.begin(), all.end(), [](const ExportFacts& facts) { return facts.overlay.has_failed; });
  metrics.gauge("unionfs_clients", "Connections of clients.", clients_of(all));
  metrics.gauge("unionfs_exports_open", "Exports that are open.", all.size());
  metrics.gauge("unionfs_exports_failed", "Those of them of which every request fails.",
                static_cast<uint64_t>(failed));
  metrics.gauge("unionfs_exports_left_out", "Those of them that have no metrics here.", left_out);
  const auto with_upper = std::find_if(all.begin(), all.end(), [](const ExportFacts& facts) {
    return facts.has_upper && facts.overlay.upper;
  });
  if (with_upper != all.end()) {
    metrics.gauge("unionfs_host_free_bytes", "What the file system of the uppers has left.",
                  with_upper->overlay.upper->free_bytes);
  }
  if (!all.empty()) {
    metrics.gauge("unionfs_session_block_bytes", "The size of a block of a session.",
                  all.front().overlay.block_size_bytes);
  }
}

// One metric; an export of which number(facts) is not known has no sample.
template <typename Number>
void add_of_each(MetricsText& metrics, const AllFacts& all, const char* name, const char* type,
                 const char* help, Number&& number) {
  metrics.begin(name, type, help);
  for (const ExportFacts& facts : all) {
    if (const std::optional<uint64_t> value = number(facts)) {
      metrics.add("export", facts.name, *value);
    }
  }
}

void add_state_of_each(MetricsText& metrics, const AllFacts& all) {
  using Value = std::optional<uint64_t>;
  const auto gauge = [&](const char* name, const char* help, auto number) {
    add_of_each(metrics, all, name, "gauge", help, number);
  };
  gauge("unionfs_export_clients", "Connections of clients.",
        [](const ExportFacts& of) { return Value(of.clients); });
  gauge("unionfs_export_failed", "Whether every request fails until its clients have gone.",
        [](const ExportFacts& of) { return Value(of.overlay.has_failed ? 1 : 0); });
  gauge("unionfs_export_disk_size_bytes", "The size of the disk.",
        [](const ExportFacts& of) { return Value(of.overlay.size_bytes); });
  gauge("unionfs_export_session_blocks", "Blocks that clients wrote since the last checkpoint.",
        [](const ExportFacts& of) {
          return of.has_upper && of.overlay.session ? Value(of.overlay.session->blocks) : Value();
        });
  gauge("unionfs_export_upper_disk_bytes", "What the upper takes on the host.",
        [](const ExportFacts& of) {
          return of.has_upper && of.overlay.upper ? Value(of.overlay.upper->used_bytes) : Value();
        });
}

void add_traffic_of_each(MetricsText& metrics, const AllFacts& all) {
  const auto counter = [&](const char* name, const char* help, uint64_t TrafficCounts::*count) {
    add_of_each(metrics, all, name, "counter", help, [count](const ExportFacts& of) {
      return std::optional<uint64_t>(of.traffic.*count);
    });
  };
  counter("unionfs_export_reads_total", "Reads that were answered.", &TrafficCounts::reads);
  counter("unionfs_export_read_bytes_total", "Lengths of the reads without an error.",
          &TrafficCounts::read_bytes);
  counter("unionfs_export_writes_total", "Writes that were answered.", &TrafficCounts::writes);
  counter("unionfs_export_written_bytes_total", "Lengths of the writes without an error.",
          &TrafficCounts::written_bytes);
  counter("unionfs_export_errors_total", "Requests that were answered with an error.",
          &TrafficCounts::errors);
}

}  // namespace

ControlResult ExportsControl::info(const AskedExport& asked) {
  if (!asked) {
    return info_of_all();
  }
  ControlJson json;
  const Result<ExportFacts> facts =
      exports_.facts_of(*asked, [&](const Overlay& overlay) { json = disk_info(about_, overlay); });
  if (!facts) {
    return refusal(facts.error());
  }
  json["clients"] = facts->clients;
  add_disk_facts(json, facts->overlay);
  for (const char* key : {"disk-size", "own-blocks", "written-blocks"}) {
    json["levels"].back()[key] = facts->has_upper ? json["levels"].back()[key] : nullptr;
  }
  return {ControlOutcome::kDone, text_of_json(json)};
}

ControlResult ExportsControl::info_of_all() {
  const AllFacts all = exports_.facts();
  ControlJson json{{"version", about_.version},
                   {"lower", about_.lower_path},
                   {"directory", exports_.directory()},
                   {"read-only", about_.only_reads},
                   {"checkpoint", about_.checkpoints_by_itself ? "auto" : "never"},
                   {"clients", clients_of(all)},
                   {"levels", levels_json(exports_.base_levels())},
                   {"exports", ControlJson::array()}};
  for (const ExportFacts& facts : all) {
    json["exports"].push_back(export_json(facts));
  }
  return {ControlOutcome::kDone, text_of_json(json)};
}

std::string ExportsControl::metrics() {
  AllFacts all = exports_.facts();
  const size_t left_out = all.size() - std::min(all.size(), kMostMeasured);
  MetricsText metrics;
  metrics.begin("unionfs_info", "gauge", "The program that serves the disks.");
  metrics.add("version", about_.version, 1);
  counts_.add_requests_and_flushes(metrics);
  add_checkpoints(metrics, exports_.checkpoint_counts());
  counts_.add_snapshots(metrics);
  add_totals(metrics, all, left_out);
  metrics.begin(
      "unionfs_exports_lost_total", "counter",
      "Exports that were closed with an error, so that what was not flushed may be lost.");
  metrics.add(exports_.lost_count());
  add_cache(metrics, exports_.base());
  all.resize(all.size() - left_out);
  add_state_of_each(metrics, all);
  add_traffic_of_each(metrics, all);
  return metrics.text();
}

template <typename Action>
ControlResult ExportsControl::visit(const AskedExport& asked, Action&& action) {
  ControlResult result;
  const Result<void> visited = exports_.visit(*asked, Exports::Visit::kBeside,
                                              [&](ServedDisk& disk) { result = action(disk); });
  return visited ? result : refusal(visited.error());
}

ControlResult ExportsControl::flush(const AskedExport& asked) {
  if (!asked) {
    return flush_all();
  }
  ControlResult flushed = visit(asked, [this](ServedDisk& disk) {
    return disk.has_upper() ? flush_disk(disk.overlay(), counts_) : flushed_answer(0);
  });
  const Result<void> lost = exports_.take_loss(*asked);
  return lost ? flushed : ControlResult{ControlOutcome::kFailed, lost.error().message};
}

ControlResult ExportsControl::flush_all() {
  const auto begin = std::chrono::steady_clock::now();
  const FlushedExports flushed = exports_.flush_all();
  counts_.count_flushes(FlushedBy::kControl, flushed.count);
  if (!flushed.result) {
    return {ControlOutcome::kFailed, flushed.result.error().message};
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return flushed_answer(seconds.count(), flushed.count);
}

ControlResult ExportsControl::checkpoint(const AskedExport& asked) {
  if (!asked) {
    return which_export();
  }
  return visit(asked, [this](ServedDisk& disk) {
    return disk.has_upper() ? checkpoint_disk(about_, *disk.checkpointer())
                            : ControlResult{ControlOutcome::kRefused,
                                            "nothing was written to it yet, so there is nothing "
                                            "to make a layer of"};
  });
}

ControlResult ExportsControl::snapshot(const AskedExport& asked, const std::string& name) {
  if (!asked) {
    return which_export();
  }
  if (has_export_suffix(name)) {
    return {ControlOutcome::kMistaken,
            fmt::format("{}: a level of that name would be an export of its own; give one that "
                        "does not end in .img",
                        name)};
  }
  ControlResult result;
  const Result<void> visited = exports_.visit(*asked, [&](ServedDisk& disk) {
    if (!disk.has_upper()) {
      result = {ControlOutcome::kRefused,
                "nothing was written to it yet, so there is nothing to freeze"};
      return Exports::Visit::kBeside;
    }
    result = snapshot_disk(disk.overlay(), *disk.checkpointer(), counts_, name);
    return result.outcome == ControlOutcome::kRefused ? Exports::Visit::kStopsCheckpoint
                                                      : Exports::Visit::kAsClient;
  });
  return visited ? result : refusal(visited.error());
}

}  // namespace unionfs
