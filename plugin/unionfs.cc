// SPDX-License-Identifier: BSD-3-Clause
//
// The nbdkit plugin: nbdkit's callbacks on one side, the overlay on the other.
// Errors become errno values and log lines here; no exception leaves here.
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <string>

#include "overlay/host/process.h"
#include "overlay/service/auto_checkpoint.h"
#include "overlay/service/overlay.h"
#include "overlay/service/writers.h"
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
using unionfs::AutoCheckpoint;
using unionfs::ByteSpan;
using unionfs::ConstByteSpan;
using unionfs::Error;
using unionfs::LeftSession;
using unionfs::Overlay;
using unionfs::OverlayOptions;
using unionfs::Result;
using unionfs::Writers;

OverlayOptions options;
std::unique_ptr<Overlay> overlay;
bool checkpoints_by_itself = true;
std::unique_ptr<AutoCheckpoint> checkpointer;  // unless checkpoint=never

bool is_shared = false;            // several clients may write
std::unique_ptr<Writers> writers;  // unless is_shared

// What a client has open.
struct Handle {
  Access access;
  std::unique_ptr<Writers::Connection> connection;  // nullptr: nobody asks who writes
};

const Handle& as_handle(void* handle) {
  return *static_cast<const Handle*>(handle);
}

// The last guard against bytes of an image that would steer a terminal or end a line.
void log_line(const std::string& message) {
  nbdkit_error("%s", unionfs::printable_line(message).c_str());
}

void debug_line(const std::string& message) {
  nbdkit_debug("%s", unionfs::printable_line(message).c_str());
}

int report(const Error& error) {
  log_line(error.message);
  nbdkit_set_error(error.error_number);
  return -1;
}

// Runs what a callback does; `action` returns Result<void>.
template <typename Action>
int guarded(Action&& action) {
  try {
    const Result<void> result = action();
    return result ? 0 : report(result.error());
  } catch (const std::bad_alloc&) {
    nbdkit_error("out of memory");
    nbdkit_set_error(ENOMEM);
  } catch (const std::exception& exception) {
    nbdkit_error("internal error: %s", exception.what());
    nbdkit_set_error(EIO);
  }
  return -1;
}

// ---- configuration -----------------------------------------------------------

int set_path(const char* what, std::string& path, const char* value) {
  if (!path.empty()) {
    nbdkit_error("%s is given twice: %s and %s", what, path.c_str(), value);
    return -1;
  }
  // The server leaves this directory before the file is opened.
  char* absolute = nbdkit_absolute_path(value);
  if (absolute == nullptr) {
    return -1;
  }
  path = absolute;
  free(absolute);
  return 0;
}

// Octal, and no less than what the next server needs.
int set_mode(const char* value) {
  constexpr unsigned long kLeast = 0600;
  constexpr unsigned long kMost = 0666;
  char* end = nullptr;
  const unsigned long mode = strtoul(value, &end, 8);
  const bool is_octal = *value >= '0' && *value <= '7' && *end == '\0';
  if (!is_octal || (mode & kLeast) != kLeast || (mode & ~kMost) != 0) {
    nbdkit_error("mode=%s: must be octal, with 0600 and within 0666, as 0640", value);
    return -1;
  }
  options.mode = static_cast<uint32_t>(mode);
  return 0;
}

int unionfs_config(const char* key, const char* value) {
  if (strcmp(key, "lower") == 0) {
    return set_path("lower", options.lower_path, value);
  }
  if (strcmp(key, "upper") == 0) {
    return set_path("upper", options.upper_path, value);
  }
  if (strcmp(key, "image") == 0) {  // a bare parameter
    return options.lower_path.empty() ? set_path("lower", options.lower_path, value)
                                      : set_path("upper", options.upper_path, value);
  }
  if (strcmp(key, "size") == 0) {
    const int64_t size = nbdkit_parse_size(value);
    if (size == -1) {
      return -1;
    }
    options.size_bytes = static_cast<uint64_t>(size);
    return 0;
  }
  if (strcmp(key, "mode") == 0) {
    return set_mode(value);
  }
  if (strcmp(key, "checkpoint") == 0) {
    if (strcmp(value, "auto") != 0 && strcmp(value, "never") != 0) {
      nbdkit_error("checkpoint=%s: must be auto or never", value);
      return -1;
    }
    checkpoints_by_itself = strcmp(value, "auto") == 0;
    return 0;
  }
  if (strcmp(key, "shared") == 0) {
    const int shared = nbdkit_parse_bool(value);
    is_shared = shared == 1;
    return shared == -1 ? -1 : 0;
  }
  nbdkit_error("unknown parameter '%s'", key);
  return -1;
}

int unionfs_config_complete() {
  if (options.lower_path.empty()) {
    nbdkit_error("the lower image is missing: give it as the first parameter, or as lower=FILE");
    return -1;
  }
  const char* directory = getenv("TMPDIR");
  char* absolute =
      nbdkit_absolute_path(directory != nullptr && *directory != '\0' ? directory : "/var/tmp");
  if (absolute == nullptr) {
    return -1;
  }
  options.temporary_directory = absolute;
  free(absolute);
  return 0;
}

constexpr const char* kConfigHelp =
    "[lower=]<FILE>      (required) The ext2 image below, never written.\n"
    "[upper=]<FILE>      The layer over it, created if missing;\n"
    "                    without one changes are gone at exit.\n"
    "size=<SIZE>         Size of the disk; a larger one makes an upper grow\n"
    "                    (default: the upper's; for a new one the lower's,\n"
    "                    plus as much or 1G).\n"
    "mode=<MODE>         Mode of a new upper, octal (default: as the lower's,\n"
    "                    but no more than 0644).\n"
    "checkpoint=auto|never  Whether what was written becomes a layer of\n"
    "                    files when the last client has gone (default: auto).\n"
    "shared=<BOOL>       Whether several clients may write at once (default: false).";

void unionfs_dump_plugin() {
  printf("unionfs_upper_version=%u\n", unionfs::upper_format::kVersion);
  printf("unionfs_block_sizes=1024,2048,4096\n");
}

// ---- life --------------------------------------------------------------------

int unionfs_get_ready() {
  // A file size limit must be an error of what is tried here, and not our end.
  const auto before = signal(SIGXFSZ, SIG_IGN);
  const int result = guarded([]() -> Result<void> {
    options.log = log_line;
    options.progress = debug_line;
    options.server_access = unionfs::server_access();
    UNIONFS_ASSIGN(overlay, Overlay::prepare(options));
    return {};
  });
  signal(SIGXFSZ, before);  // of what nbdkit runs
  return result;
}

// Only with a flag that was given to -D.
void debug_checkpoint(const std::string& message) {
  if (unionfs_debug_checkpoint != 0) {
    debug_line(message);
  }
}

int unionfs_after_fork() {
  // A write past the file size limit is an error for the client, not our end.
  signal(SIGXFSZ, SIG_IGN);
  return guarded([]() -> Result<void> {
    if (!is_shared) {
      // The longest request of a lower that is a file takes no time to speak of.
      writers = std::make_unique<Writers>(
          [](const unionfs::Peer& peer) {
            return unionfs::is_process_gone(peer.process, peer.started_at);
          },
          options.log, std::chrono::milliseconds(0));
    }
    if (!checkpoints_by_itself) {
      return {};
    }
    checkpointer = std::make_unique<AutoCheckpoint>(*overlay, options.log, debug_checkpoint);
    // nbdkit says that it only reads when a client comes, but none may come.
    checkpointer->start(options.server_access == Access::kReadWrite ? LeftSession::kLayer
                                                                    : LeftSession::kKeep);
    return {};
  });
}

void unionfs_cleanup() {
  (void)guarded([]() -> Result<void> {
    if (checkpointer) {
      checkpointer->finish();
    }
    return overlay ? overlay->close() : Result<void>();
  });
}

void unionfs_unload() {
  writers.reset();
  checkpointer.reset();
  overlay.reset();
}

void close_handle(std::unique_ptr<Handle> handle) {
  if (handle != nullptr && handle->connection != nullptr) {
    writers->close(std::move(handle->connection));
  }
  if (checkpointer) {
    checkpointer->client_closed();
  }
}

void* unionfs_open(int readonly) {
  if (checkpointer) {
    checkpointer->client_opens();
  }
  std::unique_ptr<Handle> handle;
  const int result = guarded([&]() -> Result<void> {
    const Access access = readonly != 0 ? Access::kReadOnly : Access::kReadWrite;
    handle = std::make_unique<Handle>(Handle{access, nullptr});
    if (writers && access == Access::kReadWrite) {
      handle->connection = writers->open(unionfs::current_peer(options.log));
      if (handle->connection->is_read_only()) {
        handle->access = Access::kReadOnly;
      }
    }
    return overlay->open(handle->access);
  });
  if (result == -1) {
    close_handle(std::move(handle));
  }
  return handle.release();
}

void unionfs_close(void* handle) {
  close_handle(std::unique_ptr<Handle>(static_cast<Handle*>(handle)));
}

// ---- what the disk can do ------------------------------------------------------

int64_t unionfs_get_size(void*) {
  return static_cast<int64_t>(overlay->size_bytes());
}

int unionfs_can_write(void* handle) {
  return as_handle(handle).access == Access::kReadOnly ? 0 : 1;
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

void debug_route(const char* what, uint64_t offset, uint64_t count) {
  if (unionfs_debug_route != 0 && count > 0) {
    const std::string route = unionfs::describe_route(overlay->disk().view(), offset, count);
    nbdkit_debug("%s %" PRIu64 "+%" PRIu64 ": %s", what, offset, count, route.c_str());
  }
}

Result<void> flush() {
  const auto begin = std::chrono::steady_clock::now();
  Result<void> flushed = overlay->disk().flush();
  if (unionfs_debug_flush != 0) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    nbdkit_debug("flush: %s after %.6f s", flushed ? "done" : "failed", seconds.count());
  }
  return flushed;
}

int unionfs_pread(void*, void* buffer, uint32_t count, uint64_t offset, uint32_t) {
  return guarded([&] {
    debug_route("read", offset, count);
    return overlay->disk().read(offset, ByteSpan(static_cast<std::byte*>(buffer), count));
  });
}

// Does what changes the disk, and flushes if that is asked for.
template <typename Action>
int change(void* handle, uint32_t flags, Action&& action) {
  bool is_allowed = true;
  const int result = guarded([&]() -> Result<void> {
    Writers::Connection* const connection = as_handle(handle).connection.get();
    is_allowed = connection == nullptr || writers->may_change(*connection);
    if (is_allowed) {
      UNIONFS_TRY(action());
    }
    const bool is_durable = is_allowed && (flags & NBDKIT_FLAG_FUA) != 0;
    return is_durable ? flush() : Result<void>();
  });
  if (!is_allowed) {
    nbdkit_set_error(EPERM);  // the log has it, once
    return -1;
  }
  return result;
}

int unionfs_pwrite(void* handle, const void* buffer, uint32_t count, uint64_t offset,
                   uint32_t flags) {
  return change(handle, flags, [&] {
    debug_route("write", offset, count);
    return overlay->disk().write(offset,
                                 ConstByteSpan(static_cast<const std::byte*>(buffer), count));
  });
}

int unionfs_zero(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  const unionfs::ZeroOptions zero{(flags & NBDKIT_FLAG_MAY_TRIM) != 0,
                                  (flags & NBDKIT_FLAG_FAST_ZERO) != 0};
  if (zero.must_be_fast && !overlay->disk().can_zero_fast(zero.may_trim)) {
    nbdkit_set_error(ENOTSUP);  // an answer, not a fault
    return -1;
  }
  return change(handle, flags, [&] { return overlay->disk().zero(offset, count, zero); });
}

int unionfs_trim(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  return change(handle, flags, [&] { return overlay->disk().trim(offset, count); });
}

int unionfs_flush(void*, uint32_t) {
  return guarded([] { return flush(); });
}

// Extents of one answer; more would only delay it.
constexpr int kMaxExtents = 4096;

int unionfs_extents(void*, uint32_t count, uint64_t offset, uint32_t flags,
                    nbdkit_extents* extents) {
  return guarded([&]() -> Result<void> {
    bool failed = false;
    int left = kMaxExtents;
    UNIONFS_TRY(overlay->disk().for_each_extent(
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

int unionfs_cache(void*, uint32_t count, uint64_t offset, uint32_t) {
  return guarded([&] { return overlay->disk().prefetch(offset, count); });
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
  plugin.config_help = kConfigHelp;
  plugin.magic_config_key = "image";
  plugin.dump_plugin = unionfs_dump_plugin;
  plugin.get_ready = unionfs_get_ready;
  plugin.after_fork = unionfs_after_fork;
  plugin.cleanup = unionfs_cleanup;
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
