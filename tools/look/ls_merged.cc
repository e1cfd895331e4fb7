// SPDX-License-Identifier: BSD-3-Clause
#include "tools/look/ls_merged.h"

#include "overlay/changes/image_paths.h"
#include "overlay/tree/file_state.h"
#include "tools/command_line/state_json.h"
#include "tools/command_line/text.h"

namespace unionfs::img {
namespace {

// "2001-02-03 04:05:06", in UTC, so that it is the same everywhere.
std::string time_text(const FileTime& time) {
  const time_t seconds = static_cast<time_t>(time.seconds);
  std::tm parts = {};
  ::gmtime_r(&seconds, &parts);
  constexpr int kFirstYear = 1900;
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", kFirstYear + parts.tm_year,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string size_text(const FileState& state) {
  const bool is_device =
      state.type() == ext2::kModeCharDevice || state.type() == ext2::kModeBlockDevice;
  return is_device ? fmt::format("{}, {}", state.device_major, state.device_minor)
                   : fmt::format("{}", state.size_bytes);
}

std::string long_line(const FileState& state, const std::string& path) {
  return fmt::format("{:>10} {} {:>5} {:>6} {:>6} {:>12} {}  {}{}\n", state.inode,
                     mode_text(state.mode), state.links_count, state.user_id, state.group_id,
                     size_text(state), time_text(state.modified), printable(path),
                     state.type() == ext2::kModeSymlink ? " -> " + printable(state.target) : "");
}

}  // namespace

Result<void> list_merged(const Volume& merged, const MergedListing& listing, Spool& out) {
  JsonArrayPrinter json(out);
  const auto show = [&](const ImageVisit& visit) -> Result<void> {
    if (!listing.is_long && !listing.as_json) {
      out.add(printable(visit.path) + "\n");
      return {};
    }
    UNIONFS_ASSIGN(const FileState state, file_state_of(merged, visit.record));
    if (!listing.as_json) {
      out.add(long_line(state, visit.path));
      return {};
    }
    Json line;
    put_bytes(line, "path", visit.path);
    line.update(to_json(state));
    json.add(line);
    return {};
  };
  const std::vector<std::string> all = {"/"};
  for (const std::string& path : listing.paths.empty() ? all : listing.paths) {
    UNIONFS_ASSIGN(const InodeNumber inode, find_path(merged, path));
    std::string shown;
    std::string_view rest = path;
    for (std::string_view name = take_name(rest); !name.empty(); name = take_name(rest)) {
      shown += fmt::format("/{}", name);
    }
    UNIONFS_TRY(walk_image(merged, shown.empty() ? "/" : shown, inode, show));
  }
  if (listing.as_json) {
    json.end();
  }
  return {};
}

}  // namespace unionfs::img
