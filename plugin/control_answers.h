// SPDX-License-Identifier: BSD-3-Clause
//
// What a control socket tells of one disk, and has done with it, whether the server has one disk or
// many.  docs/control.md is for its users.
#ifndef UNIONFS_PLUGIN_CONTROL_ANSWERS_H
#define UNIONFS_PLUGIN_CONTROL_ANSWERS_H

#include <nlohmann/json.hpp>
#include <string>

#include "overlay/control/control_actions.h"
#include "overlay/service/auto_checkpoint.h"
#include "overlay/service/overlay.h"
#include "plugin/control_counts.h"

namespace unionfs {

using ControlJson = nlohmann::ordered_json;

// Of a server, what does not change while it lives.
struct AboutServer {
  std::string version;
  std::string lower_path;
  bool only_reads = false;
  bool checkpoints_by_itself = true;
};

// Paths may be no UTF-8.
std::string text_of_json(const ControlJson& json);
ControlJson path_or_null(const std::string& path);

// Sizes, session and whether it has failed.
void add_disk_facts(ControlJson& json, const OverlayFacts& facts);
ControlJson levels_json(const std::vector<LevelFacts>& levels);
// All of one disk, but for "clients", which is null.
ControlJson disk_info(const AboutServer& about, const Overlay& overlay);

void add_checkpoints(MetricsText& metrics, const CheckpointCounts& checkpoints);
// Of all levels at other servers, if they have caches.
void add_cache(MetricsText& metrics, const Chain& chain);

ControlResult flush_disk(Overlay& overlay, ControlCounts& counts);
// After `seconds`, of `exports` disks where there may be many.
ControlResult flushed_answer(double seconds, std::optional<uint64_t> exports = {});
ControlResult checkpoint_disk(const AboutServer& about, AutoCheckpoint& checkpointer);
ControlResult snapshot_disk(Overlay& overlay, AutoCheckpoint& checkpointer, ControlCounts& counts,
                            const std::string& name);

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_CONTROL_ANSWERS_H
