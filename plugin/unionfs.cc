// SPDX-License-Identifier: BSD-3-Clause
//
// The nbdkit plugin: nbdkit's callbacks on one side, the overlay on the other.
// Errors become errno values and log lines here; no exception leaves here.
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "overlay/control/control_server.h"
#include "overlay/host/process.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/service/exports.h"
#include "overlay/service/served_disk.h"
#include "plugin/callback.h"
#include "plugin/disk_control.h"
#include "plugin/end_watch.h"
#include "plugin/exports_control.h"
#include "plugin/parameters.h"
#include "plugin/peer.h"
#include "plugin/route.h"
#include "plugin/server_options.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

// nbdkit sets these: -D unionfs.route=1 and so on.
extern "C" {
NBDKIT_DLL_PUBLIC int unionfs_debug_route = 0;       // where what is read lies
NBDKIT_DLL_PUBLIC int unionfs_debug_flush = 0;       // how long flushes take
NBDKIT_DLL_PUBLIC int unionfs_debug_checkpoint = 0;  // what a checkpoint had to look for
}

namespace {

using unionfs::Access;
using unionfs::ByteSpan;
using unionfs::CheckpointsWhen;
using unionfs::ConstByteSpan;
using unionfs::ControlActions;
using unionfs::ControlCounts;
using unionfs::ControlServer;
using unionfs::debug_line;
using unionfs::DiskClient;
using unionfs::DiskControl;
using unionfs::DiskTraffic;
using unionfs::Exports;
using unionfs::ExportsControl;
using unionfs::FlushedBy;
using unionfs::guarded;
using unionfs::LeftSession;
using unionfs::log_line;
using unionfs::OverlayOptions;
using unionfs::RequestKind;
using unionfs::Result;
using unionfs::ServedDisk;

unionfs::PluginParameters parameters;
OverlayOptions& options = parameters.overlay;
std::unique_ptr<ServedDisk> served;  // the only disk; without dir=
std::unique_ptr<Exports> exports;    // with dir=

// With control= only.
std::unique_ptr<ControlCounts> counts;
std::unique_ptr<ControlActions> control;
std::unique_ptr<ControlServer> control_server;
std::unique_ptr<unionfs::EndWatch> end_watch;  // where there are levels at other servers

// What a connection has open.
struct Handle {
  ServedDisk* disk;
  std::unique_ptr<DiskClient> of_only_disk = nullptr;
  std::unique_ptr<Exports::Client> of_export = nullptr;  // with dir=

  const DiskClient& client() const { return of_export ? *of_export->on_disk : *of_only_disk; }
  // nullptr without dir=.
  DiskTraffic* traffic() const { return of_export ? &of_export->traffic : nullptr; }
};

const Handle& as_handle(void* handle) {
  return *static_cast<const Handle*>(handle);
}

ServedDisk& disk_of(void* handle) {
  return *as_handle(handle).disk;
}

// ---- configuration -----------------------------------------------------------

int unionfs_config(const char* key, const char* value) {
  return unionfs::set_parameter(parameters, key, value);
}

int unionfs_config_complete() {
  return unionfs::complete_parameters(parameters);
}

void unionfs_dump_plugin() {
  printf("unionfs_upper_version=%u\n", unionfs::upper_format::kVersion);
  printf("unionfs_block_sizes=1024,2048,4096\n");
  printf("unionfs_uris=nbd,nbds,nbd+unix,nbds+unix,nbd+vsock,nbds+vsock\n");
}

// ---- life --------------------------------------------------------------------

// Only with a flag that was given to -D.
void debug_checkpoint(const std::string& message) {
  if (unionfs_debug_checkpoint != 0) {
    debug_line(message);
  }
}

bool is_gone(const unionfs::Peer& peer) {
  return unionfs::is_process_gone(peer.process, peer.started_at);
}

Result<void> prepare_exports() {
  unionfs::raise_open_file_limit();
  unionfs::ExportsOptions wanted;
  wanted.directory = parameters.directory_path;
  wanted.may_create = parameters.may_create.value_or(true);
  wanted.max_exports = parameters.max_exports.value_or(wanted.max_exports);
  wanted.overlay = options;
  wanted.is_shared = parameters.is_shared;
  wanted.is_gone = is_gone;
  wanted.checkpoints_by_itself = parameters.checkpoints_by_itself;
  wanted.checkpoints_when_asked = !parameters.control_path.empty();
  wanted.debug_checkpoint = debug_checkpoint;
  UNIONFS_ASSIGN(exports, Exports::prepare(std::move(wanted)));
  return {};
}

int unionfs_get_ready() {
  // A file size limit must be an error of what is tried here, and not our end.
  const auto before = signal(SIGXFSZ, SIG_IGN);
  const int result = guarded([]() -> Result<void> {
    options.log = log_line;
    options.progress = debug_line;
    options.server_access = unionfs::server_access();
    if (!parameters.control_path.empty()) {
      UNIONFS_TRY(ControlServer::check_can_start(parameters.control_path));
    }
    if (parameters.has_many_disks()) {
      return prepare_exports();
    }
    UNIONFS_ASSIGN(served, ServedDisk::prepare(options));
    return {};
  });
  signal(SIGXFSZ, before);  // of what nbdkit runs
  return result;
}

bool only_reads() {
  return options.server_access == Access::kReadOnly;
}

Result<void> start_control() {
  if (parameters.control_path.empty()) {
    return {};
  }
  unionfs::AboutServer about{UNIONFS_VERSION, unionfs::shown_level(parameters.lower_path),
                             only_reads(), parameters.checkpoints_by_itself};
  counts = std::make_unique<ControlCounts>();
  if (exports) {
    control = std::make_unique<ExportsControl>(std::move(about), *exports, *counts);
  } else {
    control = std::make_unique<DiskControl>(std::move(about), served->overlay(),
                                            *served->checkpointer(), *counts);
  }
  UNIONFS_ASSIGN(control_server, ControlServer::start(parameters.control_path, *control));
  return {};
}

// Nobody waits for another server for long any more.
void end_soon() {
  if (exports || served) {
    (exports ? exports->base() : served->overlay().chain()).end_soon();
  }
}

// Once the threads of remote levels are there.
void watch_end(const unionfs::Chain& chain) {
  if (chain.has_remote()) {
    end_watch = std::make_unique<unionfs::EndWatch>(end_soon);
  }
}

int unionfs_after_fork() {
  // A write past the file size limit is an error for the client, not our end.
  signal(SIGXFSZ, SIG_IGN);
  return guarded([]() -> Result<void> {
    if (exports) {
      exports->start();
      watch_end(exports->base());
      return start_control();
    }
    unionfs::ServingOptions serving;
    serving.is_shared = parameters.is_shared;
    serving.is_gone = is_gone;
    serving.has_checkpoints = parameters.checkpoints_by_itself || !parameters.control_path.empty();
    // nbdkit says that it only reads when a client comes, but none may come.
    serving.left_session =
        options.server_access == Access::kReadWrite ? LeftSession::kLayer : LeftSession::kKeep;
    serving.checkpoints_when =
        parameters.checkpoints_by_itself ? CheckpointsWhen::kByItself : CheckpointsWhen::kAsked;
    serving.debug_checkpoint = debug_checkpoint;
    served->start(std::move(serving));
    watch_end(served->overlay().chain());
    return start_control();
  });
}

void unionfs_cleanup() {
  (void)guarded([]() -> Result<void> {
    end_soon();
    control_server.reset();
    if (exports) {
      exports->finish();
    }
    return served ? served->finish() : Result<void>();
  });
}

void unionfs_unload() {
  end_watch.reset();
  control_server.reset();
  control.reset();
  served.reset();
  exports.reset();
  counts.reset();
}

// ---- clients -------------------------------------------------------------------

unionfs::Peer find_peer() {
  return unionfs::current_peer(options.log);
}

int list_all(nbdkit_exports* list) {
  return guarded([list]() -> Result<void> {
    UNIONFS_ASSIGN(const std::vector<std::string> names, exports->list());
    for (const std::string& name : names) {
      if (nbdkit_add_export(list, name.c_str(), nullptr) == -1) {
        return unionfs::system_failure(errno, "cannot list exports");
      }
    }
    return {};
  });
}

int unionfs_list_exports(int, int, nbdkit_exports* list) {
  return exports ? list_all(list) : nbdkit_use_default_export(list);
}

// nbdkit has no export of no name, and asks for this one instead.
const char* unionfs_default_export(int, int) {
  return parameters.default_export.c_str();
}

Result<std::unique_ptr<Handle>> open_export(Access access) {
  const char* const asked = nbdkit_export_name();
  if (asked == nullptr) {
    return unionfs::system_failure(errno, "cannot get the name of the export");
  }
  const std::string name = *asked != '\0' ? asked : parameters.default_export;
  if (name.empty()) {
    return unionfs::invalid(
        "the client asks for no export by name, and there is no default-export=");
  }
  UNIONFS_ASSIGN(auto client, exports->open(name, access, find_peer));
  ServedDisk* const disk = &client->disk;
  return std::make_unique<Handle>(Handle{disk, nullptr, std::move(client)});
}

void* unionfs_open(int readonly) {
  const Access access = readonly != 0 ? Access::kReadOnly : Access::kReadWrite;
  std::unique_ptr<Handle> handle;
  (void)guarded([&]() -> Result<void> {
    if (exports) {
      UNIONFS_ASSIGN(handle, open_export(access));
      return {};
    }
    UNIONFS_ASSIGN(auto client, served->open(access, find_peer));
    handle = std::make_unique<Handle>(Handle{served.get(), std::move(client)});
    return {};
  });
  return handle.release();
}

void unionfs_close(void* handle) {
  const std::unique_ptr<Handle> closed(static_cast<Handle*>(handle));
  (void)guarded([&]() -> Result<void> {
    if (closed->of_export) {
      exports->close(std::move(closed->of_export));
    } else {
      served->close(std::move(closed->of_only_disk));
    }
    return {};
  });
}

// ---- what the disk can do ------------------------------------------------------

int64_t unionfs_get_size(void* handle) {
  return static_cast<int64_t>(disk_of(handle).size_bytes());
}

int unionfs_can_write(void* handle) {
  return as_handle(handle).client().access == Access::kReadOnly ? 0 : 1;
}

int unionfs_yes(void*) {
  return 1;
}

int unionfs_can_fua(void*) {
  return NBDKIT_FUA_NATIVE;
}

int unionfs_can_cache(void*) {
  return NBDKIT_CACHE_NATIVE;
}

int unionfs_is_rotational(void*) {
  return 0;
}

int unionfs_block_size(void*, uint32_t* minimum, uint32_t* preferred, uint32_t* maximum) {
  *minimum = 1;
  *preferred = 4096;  // the host's pages, and a multiple of every ext2 block
  *maximum = UINT32_MAX;
  return 0;
}

// ---- data ----------------------------------------------------------------------

void debug_route(void* handle, const char* what, uint64_t offset, uint64_t count) {
  if (unionfs_debug_route != 0 && count > 0) {
    disk_of(handle).disk().with_view([&](const unionfs::MergedView& view) {
      const std::string route = unionfs::describe_route(view, offset, count);
      nbdkit_debug("%s %" PRIu64 "+%" PRIu64 ": %s", what, offset, count, route.c_str());
    });
  }
}

Result<void> flush(void* handle, FlushedBy by) {
  const auto begin = std::chrono::steady_clock::now();
  Result<void> flushed = disk_of(handle).disk().flush();
  if (unionfs_debug_flush != 0) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    nbdkit_debug("flush: %s after %.6f s", flushed ? "done" : "failed", seconds.count());
  }
  if (counts && flushed) {
    counts->count_flushes(by);
  }
  return flushed;
}

// Counts a request, if somebody may ask for it; `action` gives what the callback does.
template <typename Action>
int counted(void* handle, RequestKind kind, uint32_t count, Action&& action) {
  if (!counts) {
    return action();
  }
  const auto begin = std::chrono::steady_clock::now();
  const int result = action();
  counts->count_request(kind, count, result == 0, std::chrono::steady_clock::now() - begin,
                        as_handle(handle).traffic());
  return result;
}

int unionfs_pread(void* handle, void* buffer, uint32_t count, uint64_t offset, uint32_t) {
  return counted(handle, RequestKind::kRead, count, [&] {
    return guarded([&] {
      debug_route(handle, "read", offset, count);
      return disk_of(handle).disk().read(offset, ByteSpan(static_cast<std::byte*>(buffer), count));
    });
  });
}

// Does what changes the disk, and flushes if that is asked for.
template <typename Action>
int change_uncounted(void* handle, uint32_t flags, Action&& action) {
  bool is_allowed = true;
  const int result = guarded([&]() -> Result<void> {
    is_allowed = disk_of(handle).may_change(as_handle(handle).client());
    if (is_allowed) {
      UNIONFS_TRY(disk_of(handle).make_for_change());
      UNIONFS_TRY(action());
    }
    const bool is_durable = is_allowed && (flags & NBDKIT_FLAG_FUA) != 0;
    return is_durable ? flush(handle, FlushedBy::kFua) : Result<void>();
  });
  if (!is_allowed) {
    nbdkit_set_error(EPERM);  // the log has it, once
    return -1;
  }
  return result;
}

template <typename Action>
int change(RequestKind kind, uint32_t count, void* handle, uint32_t flags, Action&& action) {
  return counted(handle, kind, count, [&] { return change_uncounted(handle, flags, action); });
}

int unionfs_pwrite(void* handle, const void* buffer, uint32_t count, uint64_t offset,
                   uint32_t flags) {
  return change(RequestKind::kWrite, count, handle, flags, [&] {
    debug_route(handle, "write", offset, count);
    return disk_of(handle).disk().write(
        offset, ConstByteSpan(static_cast<const std::byte*>(buffer), count));
  });
}

int unionfs_zero(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  const unionfs::ZeroOptions zero{(flags & NBDKIT_FLAG_MAY_TRIM) != 0,
                                  (flags & NBDKIT_FLAG_FAST_ZERO) != 0};
  return counted(handle, RequestKind::kZero, count, [&] {
    if (zero.must_be_fast && !disk_of(handle).disk().can_zero_fast(zero.may_trim)) {
      nbdkit_set_error(ENOTSUP);  // an answer, not a fault
      return -1;
    }
    return change_uncounted(handle, flags,
                            [&] { return disk_of(handle).disk().zero(offset, count, zero); });
  });
}

int unionfs_trim(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  return change(RequestKind::kTrim, count, handle, flags,
                [&] { return disk_of(handle).disk().trim(offset, count); });
}

int unionfs_flush(void* handle, uint32_t) {
  return counted(handle, RequestKind::kFlush, 0,
                 [&] { return guarded([&] { return flush(handle, FlushedBy::kClient); }); });
}

// Extents of one answer; more would only delay it.
constexpr int kMaxExtents = 4096;

int list_extents(void* handle, uint32_t count, uint64_t offset, uint32_t flags,
                 nbdkit_extents* extents) {
  return guarded([&]() -> Result<void> {
    bool failed = false;
    int left = kMaxExtents;
    UNIONFS_TRY(disk_of(handle).disk().for_each_extent(
        offset, count, [&](uint64_t start, uint64_t length, bool is_hole) {
          const uint32_t type = is_hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0;
          failed = nbdkit_add_extent(extents, start, length, type) == -1;
          return !failed && --left > 0 && (flags & NBDKIT_FLAG_REQ_ONE) == 0;
        }));
    if (failed) {
      return unionfs::system_failure(errno, "cannot list extents");
    }
    return {};
  });
}

int unionfs_extents(void* handle, uint32_t count, uint64_t offset, uint32_t flags,
                    nbdkit_extents* extents) {
  return counted(handle, RequestKind::kExtents, count,
                 [&] { return list_extents(handle, count, offset, flags, extents); });
}

int unionfs_cache(void* handle, uint32_t count, uint64_t offset, uint32_t) {
  return counted(handle, RequestKind::kCache, count, [&] {
    return guarded([&] { return disk_of(handle).disk().prefetch(offset, count); });
  });
}

nbdkit_plugin make_plugin() {
  nbdkit_plugin plugin = {};
  plugin.name = "unionfs";
  plugin.longname = "nbdkit unionfs plugin";
  plugin.version = UNIONFS_VERSION;
  plugin.description = "a writable layer of files over a read-only ext2 image, as one ext2 disk";
  plugin.unload = unionfs_unload;
  plugin.config = unionfs_config;
  plugin.config_complete = unionfs_config_complete;
  plugin.config_help = unionfs::kParametersHelp;
  plugin.magic_config_key = "image";
  plugin.dump_plugin = unionfs_dump_plugin;
  plugin.get_ready = unionfs_get_ready;
  plugin.after_fork = unionfs_after_fork;
  plugin.cleanup = unionfs_cleanup;
  plugin.list_exports = unionfs_list_exports;
  plugin.default_export = unionfs_default_export;
  plugin.open = unionfs_open;
  plugin.close = unionfs_close;
  plugin.get_size = unionfs_get_size;
  plugin.block_size = unionfs_block_size;
  plugin.can_write = unionfs_can_write;
  plugin.can_flush = unionfs_yes;
  plugin.can_fua = unionfs_can_fua;
  plugin.can_zero = unionfs_yes;
  plugin.can_fast_zero = unionfs_yes;
  plugin.can_trim = unionfs_yes;
  plugin.can_extents = unionfs_yes;
  plugin.can_cache = unionfs_can_cache;
  plugin.can_multi_conn = unionfs_yes;  // a flush covers the writes of all connections
  plugin.is_rotational = unionfs_is_rotational;
  plugin.pread = unionfs_pread;
  plugin.pwrite = unionfs_pwrite;
  plugin.zero = unionfs_zero;
  plugin.trim = unionfs_trim;
  plugin.flush = unionfs_flush;
  plugin.extents = unionfs_extents;
  plugin.cache = unionfs_cache;
  plugin.errno_is_preserved = 0;  // every error is told by nbdkit_set_error
  return plugin;
}

nbdkit_plugin plugin = make_plugin();

}  // namespace

NBDKIT_REGISTER_PLUGIN(plugin)
