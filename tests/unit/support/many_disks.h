// SPDX-License-Identifier: BSD-3-Clause
//
// A server of a directory of uppers for unit tests, whose clients are known by letters.
#ifndef UNIONFS_TESTS_UNIT_SUPPORT_MANY_DISKS_H
#define UNIONFS_TESTS_UNIT_SUPPORT_MANY_DISKS_H

#include <algorithm>
#include <atomic>
#include <thread>

#include "overlay/service/exports.h"
#include "tests/unit/support/manual_clock.h"
#include "tests/unit/support/overlay_fixture.h"

namespace unionfs::testing {

inline constexpr uint32_t kBlock = 1024;

// Where the second block of a file of the lower lies: a checkpoint keeps what is written there.
inline uint64_t place() {
  static const uint64_t place =
      numbers_in(small_image(kBlock).debugfs("blocks /etc/deep/deeper/large")).at(1) * kBlock;
  return place;
}

// The host of an upper, whose changes and syncs fail while it is told so.
class SickFile final : public GuardedFile {
 public:
  SickFile(WritableFile& file, const std::atomic<bool>& is_sick)
      : GuardedFile(file), is_sick_(is_sick) {}

 private:
  Result<void> pass() override {
    return is_sick_ ? system_failure(EIO, fmt::format("{}: told to fail", file_.name()))
                    : Result<void>();
  }

  const std::atomic<bool>& is_sick_;
};

class Lines {
 public:
  LogSink sink() {
    return [this](const std::string& line) {
      const std::lock_guard<std::mutex> guard(mutex_);
      lines_.push_back(line);
    };
  }
  bool has(const std::string& part) {
    const std::lock_guard<std::mutex> guard(mutex_);
    return std::any_of(lines_.begin(), lines_.end(), [&](const std::string& line) {
      return line.find(part) != std::string::npos;
    });
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> lines_;  // guarded by mutex_
};

using ClientPointer = std::unique_ptr<Exports::Client>;

// A server of a directory, whose clients are known by letters.
class ManyDisks {
 public:
  explicit ManyDisks(const std::function<void(ExportsOptions&)>& change = {}) {
    ExportsOptions options;
    options.directory = scratch_.path();
    options.overlay.level_paths = {small_image(kBlock).path()};
    options.overlay.size_bytes = small_merged_size(kBlock);
    options.overlay.server_access = Access::kReadWrite;
    options.overlay.log = log.sink();
    options.overlay.clock = &clock;
    options.overlay.wrap_upper = [this](WritableFile& file) -> std::unique_ptr<WritableFile> {
      const bool may_fall_ill = file.name().ends_with("/sick.img");
      return std::make_unique<SickFile>(file, may_fall_ill ? is_sick : is_healthy_);
    };
    options.is_gone = [](const Peer&) { return false; };
    options.debug_checkpoint = quiet_log();
    if (change) {
      change(options);
    }
    exports = value_of(Exports::prepare(std::move(options)));
    exports->start();
  }

  std::string path(const std::string& name) const { return scratch_.path() / (name + ".img"); }
  bool has_file(const std::string& name) const { return std::filesystem::exists(path(name)); }

  Result<ClientPointer> try_open(const std::string& name, const std::string& client = "a") {
    return exports->open(name, Access::kReadWrite, [&] {
      return Peer{client, "client " + client, 1, 1};
    });
  }
  ClientPointer open(const std::string& name, const std::string& client = "a") {
    return value_of(try_open(name, client));
  }

  // As the plugin does it.
  static Result<void> write(const ClientPointer& client, uint64_t seed) {
    if (!client->disk.may_change(*client->on_disk)) {
      return system_failure(EPERM, "another client writes");
    }
    UNIONFS_TRY(client->disk.make_for_change());
    return client->disk.disk().write(place(), pattern(seed, kBlock));
  }
  static bool shows(const ClientPointer& client, uint64_t seed) {
    std::vector<std::byte> found(kBlock);
    return client->disk.disk().read(place(), found).has_value() && found == pattern(seed, kBlock);
  }
  static std::vector<std::byte> whole(const ClientPointer& client) {
    return read_all(client->disk.overlay().disk());
  }
  // Time passes until nothing is open, and no upper locked: one counts as closed when that begins.
  void close_all() {
    while (!exports->facts().empty()) {
      clock.advance(std::chrono::seconds(1));
      std::this_thread::yield();
    }
    for (const std::string& name : value_of(exports->list())) {
      await([&] {
        const auto file = PosixFile::open(path(name), FileLock::kExclusive);
        return file.has_value() || file.error().error_number != EBUSY;
      });
    }
  }
  template <typename Predicate>
  static void await(Predicate predicate) {
    while (!predicate()) {
      std::this_thread::yield();
    }
  }

  ManualClock clock;
  Lines log;
  std::atomic<bool> is_sick{false};

 private:
  ScratchDirectory scratch_;
  std::atomic<bool> is_healthy_{false};

 public:
  std::unique_ptr<Exports> exports;  // goes first
};

}  // namespace unionfs::testing

#endif  // UNIONFS_TESTS_UNIT_SUPPORT_MANY_DISKS_H
