// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/control_answers.h"

#include <chrono>

#include "fsparse/printable.h"
#include "overlay/host/scope_exit.h"

namespace unionfs {
namespace {

const char* name_of(LevelKind kind) {
  switch (kind) {
    case LevelKind::kLower:
      return "lower";
    case LevelKind::kSealed:
      return "sealed";
    case LevelKind::kFrozen:
      return "frozen";
    case LevelKind::kVoid:
      return "void";
    case LevelKind::kUpper:
      break;
  }
  return "upper";
}

template <typename Value>
ControlJson or_null(const std::optional<Value>& value) {
  return value ? ControlJson(*value) : ControlJson(nullptr);
}

ControlJson hex_or_null(const std::optional<upper_format::Digest>& digest) {
  return digest ? ControlJson(hex_text(*digest)) : ControlJson(nullptr);
}

}  // namespace

// ---- what there is -----------------------------------------------------------------

std::string text_of_json(const ControlJson& json) {
  return json.dump(-1, ' ', false, ControlJson::error_handler_t::replace);
}

ControlJson path_or_null(const std::string& path) {
  return path.empty() ? ControlJson(nullptr) : ControlJson(path);
}

void add_disk_facts(ControlJson& json, const OverlayFacts& facts) {
  json["merged-size"] = facts.size_bytes;
  json["block-size"] = facts.block_size_bytes;
  json["disk-size"] = facts.upper ? ControlJson(facts.upper->used_bytes) : ControlJson(nullptr);
  json["session"]["written-blocks"] =
      facts.session ? ControlJson(facts.session->blocks) : ControlJson(nullptr);
  json["failed"] = facts.has_failed;
}

ControlJson levels_json(const std::vector<LevelFacts>& levels) {
  ControlJson all = ControlJson::array();
  for (const LevelFacts& level : levels) {
    all.push_back({{"kind", name_of(level.kind)},
                   {"path", path_or_null(level.name)},
                   {"merged-size", level.merged_size_bytes},
                   {"disk-size", or_null(level.disk_bytes)},
                   {"own-blocks", or_null(level.own_blocks)},
                   {"written-blocks", or_null(level.written_blocks)},
                   {"digest", hex_or_null(level.chain)},
                   {"freeze-id", hex_or_null(level.freeze_id)}});
  }
  return all;
}

ControlJson disk_info(const AboutServer& about, const Overlay& overlay) {
  ControlJson json{{"version", about.version},
                   {"lower", about.lower_path},
                   {"upper", path_or_null(overlay.upper_path())},
                   {"read-only", about.only_reads},
                   {"checkpoint", about.checkpoints_by_itself ? "auto" : "never"},
                   {"clients", nullptr}};
  add_disk_facts(json, overlay.facts());
  json["levels"] = levels_json(overlay.level_facts());
  return json;
}

void add_checkpoints(MetricsText& metrics, const CheckpointCounts& checkpoints) {
  metrics.begin("unionfs_checkpoints_total", "counter", "Checkpoints, by what became of them.");
  metrics.add("result", "made", checkpoints.made);
  metrics.add("result", "refused", checkpoints.refused);
}

void add_cache(MetricsText& metrics, const Chain& chain) {
  if (!chain.has_cache()) {
    return;
  }
  const CacheCounters cache = chain.cache_counters();
  metrics.begin("unionfs_cache_clusters_total", "counter",
                "Clusters of remote levels that were read, by where they were.");
  metrics.add("from", "cache", cache.hits);
  metrics.add("from", "server", cache.misses);
  metrics.add("from", "another request", cache.joined);
  metrics.add("from", "server, ahead", cache.ahead);
}

// ---- what is done ------------------------------------------------------------------

ControlResult flush_disk(Overlay& overlay, ControlCounts& counts) {
  const auto begin = std::chrono::steady_clock::now();
  if (const Result<void> flushed = overlay.flush(); !flushed) {
    return {ControlOutcome::kFailed, flushed.error().message};
  }
  counts.count_flushes(FlushedBy::kControl);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return flushed_answer(seconds.count());
}

ControlResult flushed_answer(double seconds, std::optional<uint64_t> exports) {
  ControlJson json{{"seconds", seconds}};
  if (exports) {
    json["exports"] = *exports;
  }
  return {ControlOutcome::kDone, text_of_json(json)};
}

ControlResult checkpoint_disk(const AboutServer& about, AutoCheckpoint& checkpointer) {
  if (about.only_reads) {
    return {ControlOutcome::kRefused, "a server that only reads makes no checkpoint"};
  }
  const AskedCheckpoint asked = checkpointer.ask();
  if (asked.clients > 0) {
    return {ControlOutcome::kRefused,
            fmt::format("{} client{} connected; a checkpoint is made when none is", asked.clients,
                        asked.clients == 1 ? " is" : "s are")};
  }
  if (!asked.result) {
    return {ControlOutcome::kFailed, describe(asked.result.error())};
  }
  const std::optional<CheckpointFigures>& figures = *asked.result;
  ControlJson json{{"done", figures.has_value()}};
  if (figures) {
    json["written-blocks"] = figures->written_blocks;
    json["own-inodes-added"] = figures->own_inodes_added;
    json["staged-bytes"] = figures->staged_bytes;
  }
  return {ControlOutcome::kDone, text_of_json(json)};
}

// As a client that comes: a checkpoint that is being made gives up, if it is not committed yet.
ControlResult snapshot_disk(Overlay& overlay, AutoCheckpoint& checkpointer, ControlCounts& counts,
                            const std::string& name) {
  checkpointer.client_opens();
  const ScopeExit goes([&] { checkpointer.client_closed(); });
  const Result<SnapshotFigures> figures = overlay.snapshot(name);
  counts.count_snapshot(figures);
  if (!figures) {
    const ErrorKind kind = figures.error().kind;
    const bool is_refused = kind == ErrorKind::kInvalid || kind == ErrorKind::kUnsupported;
    return {is_refused ? ControlOutcome::kRefused : ControlOutcome::kFailed,
            figures.error().message};
  }
  return {ControlOutcome::kDone, text_of_json({{"name", name},
                                               {"pause-seconds", figures->pause_seconds},
                                               {"flush-wait-seconds", figures->flush_seconds}})};
}

}  // namespace unionfs
