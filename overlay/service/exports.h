// SPDX-License-Identifier: BSD-3-Clause
//
// Many disks of one server: each name that clients ask for is an upper in one directory, over
// the same levels.  docs/exports.md says what for, and has the states of a name.
#ifndef UNIONFS_OVERLAY_SERVICE_EXPORTS_H
#define UNIONFS_OVERLAY_SERVICE_EXPORTS_H

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "overlay/service/disk_traffic.h"
#include "overlay/service/export_entry.h"
#include "overlay/service/export_schedule.h"
#include "overlay/service/served_disk.h"
#include "overlay/session/flusher.h"

namespace unionfs {

// More than these make libnbd refuse the whole list.
constexpr size_t kMaxListedExports = 9999;

struct ExportsOptions {
  std::string directory;                   // of the uppers
  bool may_create = true;                  // else only uppers that are there are exports
  size_t max_exports = kMaxListedExports;  // a new name beyond them is refused
  OverlayOptions overlay;                  // of each of them, without an upper
  bool is_shared = false;                  // several clients may write to one of them
  Writers::IsGone is_gone;
  bool checkpoints_by_itself = true;
  bool checkpoints_when_asked = false;  // whether somebody may ask for one, too
  LogSink debug_checkpoint;             // what a checkpoint took
};

// How one of many disks does.
struct ExportFacts {
  std::string name;
  uint64_t clients = 0;
  bool has_upper = false;  // else nothing was written yet
  OverlayFacts overlay;
  // Since it was opened.
  CheckpointCounts checkpoints;
  TrafficCounts traffic;
};

// What Exports::flush_all() did.
struct FlushedExports {
  uint64_t count = 0;        // of those that had something of their own
  Result<void> result = {};  // also after an error all others were flushed
};

// Thread-safe, but for start() and finish().  A disk that fails disturbs no other.
class Exports {
  using Entry = ExportEntry;

 public:
  // How long an export stays open when its last checkpoint is made.
  static constexpr std::chrono::seconds kIdle{60};
  static constexpr size_t kWorkers = 2;
  // How long a count of the directory's uppers is good, as long as it leaves room for new ones.
  static constexpr std::chrono::seconds kCounted{1};
  // Of so many exports it is kept by name that they were closed with an error.
  static constexpr size_t kMostLosses = 100;

  // What a client has open.
  struct Client {
    ServedDisk& disk;
    DiskTraffic& traffic;  // the disk's
    std::unique_ptr<DiskClient> on_disk;
    std::shared_ptr<Entry> entry;
  };

  // Opens what all of them share, and tries whether an upper could be made.  Makes nothing that
  // stays, and opens no upper.
  static Result<std::unique_ptr<Exports>> prepare(ExportsOptions options);
  ~Exports();

  // After the fork.
  void start();
  // Makes the last checkpoints and closes all; what fails is in the log.
  void finish();

  // The names of all uppers, sorted; of more than kMaxListedExports the first.  Opens none.
  Result<std::vector<std::string>> list() const;
  // For each client.  The name is checked.  Waits for whoever opens or closes the same one.
  Result<std::unique_ptr<Client>> open(const std::string& name, Access access,
                                       const std::function<Peer()>& find_peer);
  void close(std::unique_ptr<Client> client);

  // Of those that are open, by name.  Does not wait for a checkpoint.
  std::vector<ExportFacts> facts() const;
  // The same of one, with what `look` finds in the same overlay; it must not take long.  Errors are
  // those of visit().
  Result<ExportFacts> facts_of(const std::string& name,
                               const std::function<void(const Overlay&)>& look) const;
  CheckpointCounts checkpoint_counts() const { return checkpoint_totals_.counts(); }
  // What all share, without the layers that an upper names by itself.
  const Chain& base() const { return *base_; }
  const std::vector<LevelFacts>& base_levels() const { return base_levels_; }

  // What a visitor does who is no client.
  enum class Visit {
    kBeside,           // what a client does not notice
    kStopsCheckpoint,  // one that was being made is made up for
    kAsClient,         // the session is another one, so a checkpoint is due later
  };
  // Calls action(disk) while the export is open, and keeps it open meanwhile.  Waits for who closes
  // it.  kInvalid: it is no name of an export.  ENOENT: there is no such export.  EBUSY: it is not
  // open now.
  Result<void> visit(const std::string& name, Visit visit,
                     const std::function<void(ServedDisk&)>& action);
  // The same, where only the action knows what it was.
  Result<void> visit(const std::string& name, const std::function<Visit(ServedDisk&)>& action);
  // What was answered to any client before the call survives a power loss after it.  An error tells
  // of exports that could not be flushed now, and of those that were closed with an error since
  // the last call: each loss is told once, here or by take_loss().
  FlushedExports flush_all();
  // The error of one that was closed so.
  Result<void> take_loss(const std::string& name);
  // How many closings of exports ended with an error.
  uint64_t lost_count() const;
  const std::string& directory() const { return options_.directory; }

 private:
  enum class Task { kCheckpoint, kClose };

  explicit Exports(ExportsOptions options);

  Result<void> open_shared();
  ServingOptions serving() const;
  OverlayOptions options_for(const std::string& upper_path) const;
  std::string path_of(const std::string& name) const;
  Result<bool> is_there(const std::string& path) const;
  Result<std::vector<std::string>> names_in_directory() const;
  Result<void> check_room();
  bool is_room_known();

  // An entry is in the table as long as it is used: by clients, visitors, and tasks.
  std::shared_ptr<Entry> use(const std::string& name);
  // nullptr if it is not there.
  std::shared_ptr<Entry> use_known(const std::string& name);
  std::vector<std::shared_ptr<Entry>> entries() const;
  static ExportFacts facts_of_open(const Entry& entry, const ServedDisk::Shown& shown)
      UNIONFS_REQUIRES(entry.mutex);
  // What to tell of one that is not open.
  Error not_open(const std::string& name) const;
  void unuse(const std::shared_ptr<Entry>& entry);

  Result<std::unique_ptr<ServedDisk>> make_disk(const Entry& entry);
  Result<ServedDisk*> open_entry(Entry& entry);
  void client_gone(const std::shared_ptr<Entry>& entry);
  // nullptr if it is not open.
  ServedDisk* begin_visit(Entry& entry) const;
  void end_visit(const std::shared_ptr<Entry>& entry, Visit visit);
  void settle(const std::shared_ptr<Entry>& entry) UNIONFS_REQUIRES(entry->mutex);
  Result<void> flush_entry(const std::shared_ptr<Entry>& entry, uint64_t& flushed);
  static bool is_idle(const Entry& entry) UNIONFS_REQUIRES(entry.mutex);
  void close_disk(Entry& entry) UNIONFS_REQUIRES(entry.mutex);
  void close_overlay(const Entry& entry, Overlay& overlay);
  void note_loss(const std::string& name, Error error);
  Result<void> take_losses();
  void finish_entry(Entry& entry) const;
  void plan(const std::shared_ptr<Entry>& entry, Task task, Clock::Duration delay)
      UNIONFS_REQUIRES(entry->mutex);
  void do_task(const std::shared_ptr<Entry>& entry, Task task, uint64_t round);
  void give_back_some();

  ExportsOptions options_;
  Clock& clock_;
  mutable CheckpointTotals checkpoint_totals_;  // outlives all disks
  std::shared_ptr<const Chain> base_;
  std::vector<LevelFacts> base_levels_;  // as they were at the start; nobody writes to them
  std::unique_ptr<Overlay> empty_;       // what a name without a file shows; nullptr: nothing
  std::unique_ptr<Flusher> flusher_;     // from start() on

  mutable Mutex mutex_;  // who has an entry's may lock it, and not the other way round
  std::map<std::string, std::shared_ptr<Entry>> entries_ UNIONFS_GUARDED_BY(mutex_);
  // Uppers and names without one, as they were counted, and each new name since.
  size_t counted_exports_ UNIONFS_GUARDED_BY(mutex_) = 0;
  std::optional<Clock::TimePoint> counted_at_ UNIONFS_GUARDED_BY(mutex_);
  // The errors of those that were closed with one, by name, until they are told.
  std::map<std::string, Error> losses_ UNIONFS_GUARDED_BY(mutex_);
  uint64_t nameless_losses_ UNIONFS_GUARDED_BY(mutex_) = 0;  // for which there was no room
  uint64_t lost_count_ UNIONFS_GUARDED_BY(mutex_) = 0;
  // Since memory was given back.
  size_t closed_exports_ UNIONFS_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<ExportSchedule> schedule_;  // from start() on
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_EXPORTS_H
