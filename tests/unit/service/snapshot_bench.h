// SPDX-License-Identifier: BSD-3-Clause
//
// A server's overlay in a directory of its own, for the tests of snapshots.
#ifndef UNIONFS_TESTS_UNIT_SERVICE_SNAPSHOT_BENCH_H
#define UNIONFS_TESTS_UNIT_SERVICE_SNAPSHOT_BENCH_H

#include "overlay/service/overlay.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

constexpr uint32_t kSnapshotBlock = 1024;

class SnapshotBench {
 public:
  SnapshotBench() {
    std::filesystem::copy_file(small_image(kSnapshotBlock).path(), place("base.img"));
  }

  std::string place(const std::string& name) const { return scratch_.path() / name; }

  OverlayOptions options(const std::string& upper = "upper.img") const {
    OverlayOptions options;
    options.level_paths = {place("base.img")};
    options.upper_path = place(upper);
    options.log = quiet_log();
    options.server_access = Access::kReadWrite;
    if (!std::filesystem::exists(place(upper))) {
      options.size_bytes = small_merged_size(kSnapshotBlock);
    }
    return options;
  }
  // A server, and a client of it.
  static std::unique_ptr<Overlay> serve(OverlayOptions options) {
    const Access access = options.server_access.value_or(Access::kReadWrite);
    auto overlay = value_of(Overlay::prepare(std::move(options)));
    expect_success(overlay->open(access));
    return overlay;
  }
  std::unique_ptr<Overlay> serve() const { return serve(options()); }

  // What the frozen level of this name shows, sessions and all; its levels are found by name.
  std::vector<std::byte> frozen(const std::string& name) const {
    // As the first upper over it would.
    const std::string fork = "look-at-" + name;
    OverlayOptions looking = options(fork);
    looking.size_bytes.reset();
    looking.level_paths = levels_up_to(name);
    std::vector<std::byte> bytes = read_all(serve(std::move(looking))->disk());
    std::filesystem::remove(place(fork));
    return bytes;
  }

  // The lower, and what was frozen up to this name, in the order of their names in `names`.
  std::vector<std::string> names;
  LevelPaths levels_up_to(const std::string& name) const {
    LevelPaths levels = {place("base.img")};
    for (const std::string& level : names) {
      levels.push_back(place(level));
      if (level == name) {
        break;
      }
    }
    return levels;
  }
  // Hidden files that are left.
  size_t hidden_count() const {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(scratch_.path())) {
      count += entry.path().filename().string().starts_with(".") ? 1 : 0;
    }
    return count;
  }

 private:
  const ScratchDirectory scratch_;
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SERVICE_SNAPSHOT_BENCH_H
