// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/disk_control.h"

#include <fmt/ranges.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "overlay/control/metrics_text.h"
#include "overlay/host/scope_exit.h"

namespace unionfs {
namespace {

using ControlJson = nlohmann::ordered_json;

// Paths may be no UTF-8.
std::string text_of_json(const ControlJson& json) {
  return json.dump(-1, ' ', false, ControlJson::error_handler_t::replace);
}

ControlJson path_or_null(const std::string& path) {
  return path.empty() ? ControlJson(nullptr) : ControlJson(path);
}

std::string hex_of(const upper_format::Digest& digest) {
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

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

ControlJson levels_json(const Overlay& overlay) {
  const auto or_null = [](const auto& value) {
    return value ? ControlJson(*value) : ControlJson(nullptr);
  };
  const auto hex_or_null = [](const std::optional<upper_format::Digest>& digest) {
    return digest ? ControlJson(hex_of(*digest)) : ControlJson(nullptr);
  };
  ControlJson levels = ControlJson::array();
  for (const LevelFacts& level : overlay.level_facts()) {
    levels.push_back({{"kind", name_of(level.kind)},
                      {"path", path_or_null(level.name)},
                      {"merged-size", level.merged_size_bytes},
                      {"disk-size", or_null(level.disk_bytes)},
                      {"own-blocks", or_null(level.own_blocks)},
                      {"written-blocks", or_null(level.written_blocks)},
                      {"digest", hex_or_null(level.chain)},
                      {"freeze-id", hex_or_null(level.freeze_id)}});
  }
  return levels;
}

void add_session(MetricsText& metrics, const OverlayFacts& facts) {
  if (!facts.session) {
    return;
  }
  metrics.gauge("unionfs_session_blocks", "Blocks that clients wrote since the last checkpoint.",
                facts.session->blocks);
  metrics.gauge("unionfs_session_block_bytes", "The size of such a block.", facts.block_size_bytes);
  metrics.gauge("unionfs_bitmap_pages", "Pages of the session's bitmap that have a bit.",
                facts.session->bitmap_pages);
}

void add_host(MetricsText& metrics, const OverlayFacts& facts) {
  if (!facts.upper) {
    return;
  }
  metrics.gauge("unionfs_upper_disk_bytes", "What the upper takes on the host.",
                facts.upper->used_bytes);
  metrics.gauge("unionfs_host_free_bytes", "What the file system of the upper has left.",
                facts.upper->free_bytes);
}

void add_cache(MetricsText& metrics, const CacheCounters& cache) {
  metrics.begin("unionfs_cache_clusters_total", "counter",
                "Clusters of the lower that were read, by where they were.");
  metrics.add("from", "cache", cache.hits);
  metrics.add("from", "server", cache.misses);
  metrics.add("from", "another request", cache.joined);
  metrics.add("from", "server, ahead", cache.ahead);
}

}  // namespace

std::string DiskControl::info() {
  const OverlayFacts facts = overlay_.facts();
  ControlJson json{{"version", about_.version},
                   {"lower", about_.lower_path},
                   {"upper", path_or_null(overlay_.upper_path())},
                   {"merged-size", facts.size_bytes},
                   {"block-size", facts.block_size_bytes},
                   {"disk-size", nullptr},
                   {"read-only", about_.only_reads},
                   {"checkpoint", about_.checkpoints_by_itself ? "auto" : "never"},
                   {"clients", checkpointer_.client_count()},
                   {"session", {{"written-blocks", nullptr}}},
                   {"failed", facts.has_failed},
                   {"levels", levels_json(overlay_)}};
  if (facts.upper) {
    json["disk-size"] = facts.upper->used_bytes;
  }
  if (facts.session) {
    json["session"]["written-blocks"] = facts.session->blocks;
  }
  return text_of_json(json);
}

std::string DiskControl::metrics() {
  const OverlayFacts facts = overlay_.facts();
  const CheckpointCounts checkpoints = checkpointer_.counts();
  const auto flushes_by = [this](FlushedBy by) {
    return flushes_[static_cast<size_t>(by)].load(std::memory_order_relaxed);
  };
  MetricsText metrics;
  metrics.begin("unionfs_info", "gauge", "The program that serves the disk.");
  metrics.add("version", about_.version, 1);
  metrics.requests(requests_);
  metrics.begin("unionfs_flushes_total", "counter", "Flushes that were done.");
  metrics.add("by", "client", flushes_by(FlushedBy::kClient));
  metrics.add("by", "fua", flushes_by(FlushedBy::kFua));
  metrics.add("by", "control", flushes_by(FlushedBy::kControl));
  metrics.begin("unionfs_checkpoints_total", "counter", "Checkpoints, by what became of them.");
  metrics.add("result", "made", checkpoints.made);
  metrics.add("result", "refused", checkpoints.refused);
  metrics.begin("unionfs_snapshots_total", "counter", "Snapshots, by what became of them.");
  metrics.add("result", "made", snapshots_made_.load(std::memory_order_relaxed));
  metrics.add("result", "refused", snapshots_refused_.load(std::memory_order_relaxed));
  metrics.gauge_seconds("unionfs_snapshot_pause_seconds", "How long the last one held requests.",
                        snapshot_pause_seconds_.load(std::memory_order_relaxed));
  metrics.gauge_seconds("unionfs_snapshot_flush_wait_seconds",
                        "How long the last one held flushes.",
                        snapshot_flush_seconds_.load(std::memory_order_relaxed));
  metrics.gauge("unionfs_clients", "Connections of clients.", checkpointer_.client_count());
  metrics.gauge("unionfs_disk_size_bytes", "The size of the disk.", facts.size_bytes);
  metrics.gauge("unionfs_disk_failed", "Whether every request fails until a restart.",
                facts.has_failed ? 1 : 0);
  add_session(metrics, facts);
  add_host(metrics, facts);
  if (overlay_.chain().lower_file().has_cache()) {
    add_cache(metrics, overlay_.chain().lower_file().cache_counters());
  }
  return metrics.text();
}

ControlResult DiskControl::flush() {
  const auto begin = std::chrono::steady_clock::now();
  if (const Result<void> flushed = overlay_.flush(); !flushed) {
    return {ControlOutcome::kFailed, flushed.error().message};
  }
  count_flush(FlushedBy::kControl);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  return {ControlOutcome::kDone, text_of_json({{"seconds", seconds.count()}})};
}

ControlResult DiskControl::checkpoint() {
  if (about_.only_reads) {
    return {ControlOutcome::kRefused, "a server that only reads makes no checkpoint"};
  }
  const AskedCheckpoint asked = checkpointer_.ask();
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
ControlResult DiskControl::snapshot(const std::string& name) {
  checkpointer_.client_opens();
  const ScopeExit goes([this] { checkpointer_.client_closed(); });
  const Result<SnapshotFigures> figures = overlay_.snapshot(name);
  if (!figures) {
    snapshots_refused_.fetch_add(1, std::memory_order_relaxed);
    const ErrorKind kind = figures.error().kind;
    const bool is_refused = kind == ErrorKind::kInvalid || kind == ErrorKind::kUnsupported;
    return {is_refused ? ControlOutcome::kRefused : ControlOutcome::kFailed,
            figures.error().message};
  }
  snapshots_made_.fetch_add(1, std::memory_order_relaxed);
  snapshot_pause_seconds_.store(figures->pause_seconds, std::memory_order_relaxed);
  snapshot_flush_seconds_.store(figures->flush_seconds, std::memory_order_relaxed);
  return {ControlOutcome::kDone, text_of_json({{"name", name},
                                               {"pause-seconds", figures->pause_seconds},
                                               {"flush-wait-seconds", figures->flush_seconds}})};
}

}  // namespace unionfs
