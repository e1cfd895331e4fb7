// SPDX-License-Identifier: BSD-3-Clause
//
// What an upper stands on, as files or exports of NBD servers: a plain image, sealed layers over
// it, and frozen levels.
//
//     { "base.img" }                       what is below an upper of base.img
//     { "base.img", "l1.img", "l2.img" }   what is below an upper of l2.img
//     { "base.img", "monday.img" }         monday.img may be frozen, with its session
#ifndef UNIONFS_OVERLAY_STACK_CHAIN_H
#define UNIONFS_OVERLAY_STACK_CHAIN_H

#include <memory>
#include <string>
#include <vector>

#include "overlay/host/log.h"
#include "overlay/host/posix_file.h"
#include "overlay/merged/lower_image.h"
#include "overlay/merged/merged_image.h"
#include "overlay/stack/level_facts.h"
#include "overlay/stack/level_file.h"

namespace unionfs {

// The paths or NBD addresses of levels, the lowest first: the lower, then layers.
using LevelPaths = std::vector<std::string>;

// Immutable; thread-safe.  Owns its files, maybe together with other chains.
class Chain {
 public:
  // Opens at least the lower.  Each level above it must be sealed or frozen, and stand on what is
  // before it.  With
  // `lock` kNone nobody is kept out.  kInvalid where the levels do not belong together; an error
  // names the level.  Where `remote` says that threads may not be started yet, one thread may use
  // the chain until start_remote().
  static Result<std::unique_ptr<Chain>> open(const LevelPaths& paths, FileLock lock,
                                             const LogSink& log, const RemoteOptions& remote = {});
  // The same below an upper.  Layers that are not given are looked for, by the names that the
  // layers have recorded, in the directory of the upper, or of its link's target.  The upper
  // need not be there, or be one.
  static Result<std::unique_ptr<Chain>> open_below(const LevelPaths& paths,
                                                   const std::string& upper_path, FileLock lock,
                                                   const LogSink& log,
                                                   const RemoteOptions& remote = {});
  // The same, but over levels that are open already and stay shared with `base`, which may end
  // before this.  The upper is in a directory of its own, and no link leads to it.
  static Result<std::unique_ptr<Chain>> open_above(const Chain& base, const std::string& upper_path,
                                                   FileLock lock, const LogSink& log);

  // The merged image of all layers, without the sessions of frozen levels over the topmost one.
  const Below& top() const { return *belows_.back(); }
  const Volume& volume() const { return top().volume(); }
  // The same with these sessions, which may be no clean ext2: what a void upper stands on.
  // nullptr where the topmost level is not frozen.
  const MergedView* frozen_view() const;
  // Of the topmost level: its path or address for messages, and its file, which is nullptr where it
  // is remote.
  const std::string& top_name() const { return files_.back()->name(); }
  const PosixFile* top_file() const { return files_.back()->host(); }
  // Whether one of the levels is this file.
  bool has(const PosixFile& file) const;
  // Whether one of them is at another server.
  bool has_remote() const;
  // Closes the connections of remote levels, so that the process can fork; nothing of those that
  // have threads.
  void suspend_remote() const;
  // Starts their threads, once, and what is kept of them on the host.
  void start_remote(const LevelCache& cache = {}, const LogSink& log = {}) const;
  // Afterwards: the process is to end, so nobody waits for their servers for long any more.
  // Thread-safe, also while levels change.
  void end_soon() const;
  // Whether what is wished can be kept of them; nothing where nothing is wished.
  Result<void> check_cache(const LevelCache& cache) const;
  // Thread-safe, also while levels change: a client comes or goes, and reads remote levels.
  void client_came() const;
  void client_went() const;
  // The same: whether something of a remote level is kept on the host, and what was read of it,
  // summed up.
  bool has_cache() const;
  CacheCounters cache_counters() const;
  // All levels but the plain image, the lowest first.
  const std::vector<std::shared_ptr<LayerOverLower>>& layers() const { return layers_; }
  // The most that the mode of a file may be that gets data of all levels.
  uint32_t mode_for_data_in(const PosixFile& upper) const;
  // Whether no more level fits on it.
  bool is_full() const { return layers_.size() == FlatRuns::kMaxLayers; }
  // Whether it shows a session of which a valid flag in the merged superblock proves nothing.
  bool is_unproven() const;

  // ---- levels that change (overlay/stack/running_level.cc); not thread-safe ----

  // Adds an upper that is served and will be frozen with this id: `file` is a handle of it, and
  // called what the frozen file is to be called; `written` is its session's, which may still
  // change.  It counts as frozen.
  Result<void> add_running(std::unique_ptr<PosixFile> file, const upper_format::Digest& id,
                           std::shared_ptr<SessionBitmap> written, const LogSink& log);
  // Takes it away again; nobody may stand on it any more.
  void remove_top();
  // For locks; only of such a level.
  PosixFile& top_handle() { return *files_.back()->host(); }
  // Before the upper above it is written: has the topmost level frozen, if a server died while it
  // was being frozen.  Until then the level shows the same, and nothing is written.
  // EBUSY while others read it.
  Result<void> finish_freezing(const LogSink& log);
  // Once the bitmap of add_running() is final: reads through a row of frozen levels ask one table
  // from now on.  Reads may go on meanwhile.
  void flatten_top();
  // Gives the table that the one of the topmost level has made useless; nullptr where there is
  // none, and where another chain has its level, too.  Nobody may read through the levels
  // meanwhile.
  std::unique_ptr<const SessionRuns> forget_runs_below();
  // When the upper is not void any more: void levels mean nothing to it.
  void remove_void_levels();

  // As they were opened.
  LevelPaths paths() const;
  // As options of a command line: "-b base.img -b l1.img".
  std::string as_options() const;

  friend std::vector<LevelFacts> facts_of_levels(const Chain& chain, bool is_upper_void);

 private:
  Chain() = default;
  Chain(const Chain&) = default;

  // How levels are opened.
  struct Opening {
    FileLock lock;
    const LogSink& log;
    const RemoteOptions& remote;
  };
  using MaybeFile = Result<std::unique_ptr<LevelFile>>;

  Result<void> add_all(const LevelPaths& paths, const Opening& opening);
  Result<void> add_missing(const std::string& upper_path, const Opening& opening);
  static MaybeFile open_file(const std::string& path, bool is_lower, const Opening& opening);
  static Result<std::vector<MaybeFile>> open_side_by_side(const LevelPaths& paths,
                                                          const Opening& opening);
  Result<void> add_lower(MaybeFile opened, const Opening& opening);
  Result<void> add_layer(const std::string& path, MaybeFile opened, const Opening& opening);
  bool has_level(const LevelFile& file) const;
  Result<void> add_sealed(std::unique_ptr<LevelFile> file, std::unique_ptr<LayerOverLower> layer);
  // A level that shows its session, too.
  struct FrozenLevel {
    std::unique_ptr<LevelFile> file;
    std::unique_ptr<LayerOverLower> layer;
    StateArea area;  // as it is, or as it will be, when it is frozen
    std::shared_ptr<SessionBitmap> written;
  };
  Result<void> add_frozen(FrozenLevel level);
  // The same of one whose session has come to its end: with a table.
  Result<void> add_unchanging(FrozenLevel level);
  Result<void> add_freezing(std::unique_ptr<LevelFile> file, std::unique_ptr<LayerOverLower> layer);
  Result<LevelIdentity> identity_of(const FrozenLevel& level) const;
  Result<void> freeze_top();
  Result<LevelPaths> missing_layers(const std::string& upper_path) const;

  // Shared with the chains that stand on this one.
  std::vector<std::shared_ptr<LevelFile>> files_;
  std::vector<std::shared_ptr<LevelFile>> remote_;  // of these, as they were when it was opened
  std::vector<std::shared_ptr<LayerOverLower>> layers_;
  std::vector<std::shared_ptr<Below>> belows_;
  // Sessions of frozen levels.
  struct FrozenSession {
    std::shared_ptr<SessionBitmap> bitmap;
    std::shared_ptr<MergedView> view;
    upper_format::Digest freeze_id = {};
    bool is_unproven = false;
  };
  std::vector<FrozenSession> sessions_;
  size_t shared_sessions_ = 0;  // so many of them another chain has, too
  bool is_top_frozen_ = false;
  bool is_top_freezing_ = false;  // it is so on the disk, and counts as frozen
  std::string upper_path_;        // of open_below()
};

// The same of a command line that is to be typed again, but for what is secret in an address.
std::string level_options(const LevelPaths& paths);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_STACK_CHAIN_H
