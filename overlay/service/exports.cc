// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/exports.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "fsparse/printable.h"
#include "overlay/host/file_names.h"
#include "overlay/host/process.h"
#include "overlay/host/scope_exit.h"
#include "overlay/service/export_name.h"

namespace unionfs {
namespace {

// What single disks wait for as well: probes open and close, and clients come back.
constexpr std::chrono::seconds kGraceOfExport(1);

}  // namespace

// ---- life ------------------------------------------------------------------------

Exports::Exports(ExportsOptions options)
    : options_(std::move(options)), clock_(*options_.overlay.clock) {}

Exports::~Exports() {
  if (schedule_ != nullptr) {
    schedule_->stop();
  }
  entries_.clear();  // before the flusher
}

Result<std::unique_ptr<Exports>> Exports::prepare(ExportsOptions options) {
  std::unique_ptr<Exports> exports(new Exports(std::move(options)));
  UNIONFS_TRY(exports->open_shared());
  return exports;
}

Result<void> Exports::open_shared() {
  UNIONFS_ASSIGN(options_.directory, real_path_of(options_.directory));
  UNIONFS_TRY(names_in_directory());
  OverlayOptions& common = options_.overlay;
  UNIONFS_ASSIGN(base_,
                 Chain::open(common.level_paths, FileLock::kShared, common.log, common.remote));
  UNIONFS_TRY(base_->check_cache(common.cache));
  base_levels_ = facts_of_levels(*base_, base_->frozen_view() != nullptr);
  common.base = base_;
  const ScopeExit end([this] { base_->suspend_remote(); });
  if (!options_.may_create) {
    return {};
  }
  OverlayOptions empty = options_for("");
  empty.server_access = Access::kReadOnly;
  UNIONFS_ASSIGN(empty_, Overlay::prepare(std::move(empty)));
  if (common.server_access == Access::kReadOnly) {
    return {};
  }
  // What stops the first write is better known now.
  OverlayOptions probe = options_for(options_.directory + "/.unionfs-probe");
  probe.expected_upper = ExpectedUpper::kNone;
  UNIONFS_TRY(Overlay::prepare(std::move(probe)));
  return {};
}

void Exports::start() {
  base_->start_remote(options_.overlay.cache, options_.overlay.log);
  flusher_ = std::make_unique<Flusher>(clock_);
  schedule_ = std::make_unique<ExportSchedule>(clock_);
  schedule_->start(kWorkers);
}

// As with one disk, clients that a dying server has cut off count no more.
void Exports::finish() {
  if (schedule_ == nullptr) {
    return;
  }
  schedule_->stop();
  const std::vector<std::shared_ptr<Entry>> left = entries();
  std::atomic<size_t> next{0};
  const auto finish_some = [&] {
    for (size_t i = next++; i < left.size(); i = next++) {
      finish_entry(*left[i]);
    }
  };
  std::thread other(finish_some);
  finish_some();
  other.join();
}

void Exports::finish_entry(Entry& entry) const {
  ServedDisk* disk = nullptr;
  {
    const MutexLock lock(entry.mutex);
    entry.is_worked_on = true;  // so nobody closes it
    disk = entry.state == Entry::State::kOpen ? entry.disk.get() : nullptr;
  }
  try {
    if (const auto done = disk != nullptr ? disk->finish() : Result<void>(); !done) {
      options_.overlay.log(done.error().message);
    }
  } catch (const std::exception& exception) {
    options_.overlay.log(fmt::format("{}: {}", path_of(entry.name), exception.what()));
  }
}

// ---- files -----------------------------------------------------------------------

std::string Exports::path_of(const std::string& name) const {
  return options_.directory + "/" + export_file_of(name);
}

OverlayOptions Exports::options_for(const std::string& upper_path) const {
  OverlayOptions options = options_.overlay;
  options.upper_path = upper_path;
  options.expected_upper = ExpectedUpper::kThere;
  options.flusher = flusher_.get();
  return options;
}

ServingOptions Exports::serving() const {
  ServingOptions serving;
  serving.is_shared = options_.is_shared;
  serving.is_gone = options_.is_gone;
  serving.has_checkpoints = options_.checkpoints_by_itself || options_.checkpoints_when_asked;
  serving.checkpoints_when =
      options_.checkpoints_by_itself ? CheckpointsWhen::kScheduled : CheckpointsWhen::kAsked;
  serving.debug_checkpoint = options_.debug_checkpoint;
  serving.checkpoint_totals = &checkpoint_totals_;
  return serving;
}

// Only to tell apart what the client asks for: whoever opens the file looks again.
Result<bool> Exports::is_there(const std::string& path) const {
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0) {
    return S_ISREG(status.st_mode) ? Result<bool>(true)
                                   : invalid("{}: is not a regular file", path);
  }
  return errno == ENOENT ? Result<bool>(false)
                         : system_failure(errno, fmt::format("{}: cannot look", path));
}

Result<std::vector<std::string>> Exports::names_in_directory() const {
  std::vector<std::string> names;
  UNIONFS_TRY(for_each_name_in(options_.directory, [&names](const dirent& entry) {
    const bool may_be_file = entry.d_type == DT_REG || entry.d_type == DT_UNKNOWN;
    const auto name = may_be_file ? export_of_file(entry.d_name) : std::nullopt;
    if (name) {
      names.push_back(*name);
    }
  }));
  return names;
}

Result<std::vector<std::string>> Exports::list() const {
  UNIONFS_ASSIGN(std::vector<std::string> names, names_in_directory());
  std::sort(names.begin(), names.end());
  if (names.size() > kMaxListedExports) {
    options_.overlay.log(
        fmt::format("{}: has {} uppers, and no client takes a list of more than "
                    "{}; those behind {} are not listed, but served",
                    options_.directory, names.size(), kMaxListedExports,
                    quoted_name(names[kMaxListedExports - 1])));
    names.resize(kMaxListedExports);
  }
  return names;
}

// Of one name more; a listing takes milliseconds where there are thousands of uppers.
bool Exports::is_room_known() {
  const MutexLock lock(mutex_);
  const bool is_known = counted_at_ && clock_.now() - *counted_at_ < kCounted &&
                        counted_exports_ < options_.max_exports;
  counted_exports_ += is_known ? 1 : 0;
  return is_known;
}

// Of one name more, which is in the table already.
Result<void> Exports::check_room() {
  if (is_room_known()) {
    return {};
  }
  const Clock::TimePoint begin = clock_.now();
  UNIONFS_ASSIGN(const std::vector<std::string> files, names_in_directory());
  std::set<std::string> names(files.begin(), files.end());
  const MutexLock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    names.insert(name);
  }
  counted_exports_ = names.size();
  counted_at_ = begin;
  if (names.size() <= options_.max_exports) {
    return {};
  }
  return system_failure(ENOSPC, fmt::format("{}: has no room for one more than max-exports={}",
                                            options_.directory, options_.max_exports));
}

// ---- the table -------------------------------------------------------------------

std::shared_ptr<Exports::Entry> Exports::use(const std::string& name) {
  const MutexLock lock(mutex_);
  std::shared_ptr<Entry>& entry = entries_[name];
  if (entry == nullptr) {
    entry = std::make_shared<Entry>(name);
  }
  ++entry->users;
  return entry;
}

std::vector<std::shared_ptr<Exports::Entry>> Exports::entries() const {
  std::vector<std::shared_ptr<Entry>> entries;
  const MutexLock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    entries.push_back(entry);
  }
  return entries;
}

void Exports::unuse(const std::shared_ptr<Entry>& entry) {
  const MutexLock lock(mutex_);
  if (--entry->users == 0) {
    entries_.erase(entry->name);
  }
}

// ---- clients ---------------------------------------------------------------------

Result<std::unique_ptr<ServedDisk>> Exports::make_disk(const Entry& entry) {
  const std::string path = path_of(entry.name);
  UNIONFS_ASSIGN(const bool is_made, is_there(path));
  std::unique_ptr<ServedDisk> disk;
  if (is_made) {
    UNIONFS_ASSIGN(disk, ServedDisk::prepare(options_for(path)));
  } else if (empty_ != nullptr) {
    UNIONFS_TRY(check_room());
    disk = ServedDisk::prepare_later(options_for(path), *empty_);
  } else {
    return system_failure(ENOENT,
                          fmt::format("{}: is not there, and with create=no none is made", path));
  }
  disk->start(serving());
  return disk;
}

// Gives the client a disk, and counts it.
Result<ServedDisk*> Exports::open_entry(Entry& entry) {
  const MutexLock lock(entry.mutex);
  while (entry.state == Entry::State::kOpening || entry.state == Entry::State::kClosing) {
    entry.changed.wait(entry.mutex);
  }
  if (entry.state == Entry::State::kOpen && is_idle(entry) &&
      entry.disk->overlay().facts().has_failed) {  // since its clients have gone
    close_disk(entry);
  }
  if (entry.state == Entry::State::kNone) {
    entry.state = Entry::State::kOpening;
    std::unique_ptr<ServedDisk> disk;
    const ScopeExit settle([&] {
      entry.mutex.assert_held();
      entry.disk = std::move(disk);
      entry.state = entry.disk != nullptr ? Entry::State::kOpen : Entry::State::kNone;
      entry.clients += entry.disk != nullptr ? 1 : 0;
      ++entry.round;
      entry.changed.notify_all();
    });
    const MutexUnlock unlocked(entry.mutex);
    UNIONFS_ASSIGN(disk, make_disk(entry));
    return disk.get();
  }
  ++entry.clients;
  ++entry.round;
  return entry.disk.get();
}

Result<std::unique_ptr<Exports::Client>> Exports::open(const std::string& name, Access access,
                                                       const std::function<Peer()>& find_peer) {
  UNIONFS_TRY(check_export_name(name));
  const std::shared_ptr<Entry> entry = use(name);
  ServedDisk* disk = nullptr;
  bool is_open = false;
  const ScopeExit give_up([&] {
    if (!is_open && disk != nullptr) {
      client_gone(entry);
    }
    if (!is_open) {
      unuse(entry);
    }
  });
  UNIONFS_ASSIGN(disk, open_entry(*entry));
  UNIONFS_ASSIGN(auto on_disk, disk->open(access, find_peer));
  auto client = std::make_unique<Client>(Client{*disk, disk->traffic(), std::move(on_disk), entry});
  is_open = true;
  return client;
}

void Exports::close(std::unique_ptr<Client> client) {
  client->disk.close(std::move(client->on_disk));
  client_gone(client->entry);
  unuse(client->entry);
}

// ---- without clients -------------------------------------------------------------

bool Exports::is_idle(const Entry& entry) {
  return entry.clients == 0 && entry.visitors == 0 && !entry.is_worked_on;
}

// Lets go of the mutex meanwhile; nobody uses the disk, and none can come to it.
void Exports::close_disk(Entry& entry) {
  entry.state = Entry::State::kClosing;
  std::unique_ptr<ServedDisk> disk = std::move(entry.disk);
  const ScopeExit closed([&] {  // also where there is no memory
    entry.mutex.assert_held();
    disk.reset();
    entry.state = Entry::State::kNone;
    entry.changed.notify_all();
  });
  const MutexUnlock unlocked(entry.mutex);
  if (disk->has_upper()) {
    close_overlay(entry, disk->overlay());
  }
  disk.reset();
}

void Exports::close_overlay(const Entry& entry, Overlay& overlay) {
  bool is_told = false;
  Result<void> closed = {};
  try {
    closed = overlay.close();
    is_told = closed || overlay.facts().has_failed;  // of a failed sync the log has a line
  } catch (const std::exception& exception) {
    closed = system_failure(ENOMEM, fmt::format("{}: {}", path_of(entry.name), exception.what()));
  }
  if (!is_told) {
    options_.overlay.log(closed.error().message);
  }
  if (!closed) {
    note_loss(entry.name, std::move(closed).error());
  }
}

void Exports::client_gone(const std::shared_ptr<Entry>& entry) {
  const MutexLock lock(entry->mutex);
  ++entry->round;
  if (--entry->clients == 0 && !entry->is_worked_on) {
    settle(entry);
  }
}

// What is due where no client is left, and no task works.
void Exports::settle(const std::shared_ptr<Entry>& entry) {
  entry->is_unsettled = entry->visitors > 0;
  if (entry->is_unsettled) {
    return;
  }
  if (!entry->disk->has_upper() || entry->disk->overlay().facts().has_failed) {
    close_disk(*entry);
  } else if (options_.checkpoints_by_itself) {
    plan(entry, Task::kCheckpoint, kGraceOfExport);
  } else {
    plan(entry, Task::kClose, kIdle);
  }
}

void Exports::plan(const std::shared_ptr<Entry>& entry, Task task, Clock::Duration delay) {
  {
    const MutexLock lock(mutex_);
    ++entry->users;
  }
  schedule_->at(clock_.now() + delay, [this, entry, task, round = entry->round] {
    try {
      do_task(entry, task, round);
    } catch (const std::exception& exception) {  // no memory
      options_.overlay.log(fmt::format("{}: {}", path_of(entry->name), exception.what()));
    }
    unuse(entry);
    if (task == Task::kClose) {
      give_back_some();
    }
  });
}

// The memory of a thousand disks would stay with a server of which nobody wants any more.
void Exports::give_back_some() {
  constexpr size_t kMany = 64;
  {
    const MutexLock lock(mutex_);
    ++closed_exports_;
    if (closed_exports_ < kMany && !entries_.empty()) {
      return;
    }
    closed_exports_ = 0;
  }
  give_back_memory();
}

void Exports::do_task(const std::shared_ptr<Entry>& entry, Task task, uint64_t round) {
  const MutexLock lock(entry->mutex);
  if (entry->state != Entry::State::kOpen || entry->round != round) {
    return;
  }
  if (task == Task::kClose) {
    entry->is_unsettled = entry->visitors > 0;
    if (!entry->is_unsettled) {
      close_disk(*entry);
    }
    return;
  }
  entry->is_worked_on = true;
  AutoCheckpoint* const checkpointer = entry->disk->checkpointer();
  {
    const ScopeExit done([&] {  // also where there is no memory
      entry->mutex.assert_held();
      entry->is_worked_on = false;
    });
    const MutexUnlock unlocked(entry->mutex);
    (void)checkpointer->ask();
  }
  if (entry->clients > 0) {
    return;
  }
  if (entry->visitors > 0 || entry->disk->overlay().facts().has_failed) {
    settle(entry);
  } else if (entry->round == round) {
    plan(entry, Task::kClose, kIdle);
  } else {
    plan(entry, Task::kCheckpoint, kGraceOfExport);  // clients came and went meanwhile
  }
}

}  // namespace unionfs
