// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/parameters.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <stdlib.h>
#include <string.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "overlay/remote/nbd_uri.h"
#include "overlay/service/export_name.h"

namespace unionfs {
namespace {

// The server leaves this directory before the file is opened.
int make_absolute(const char* value, std::string& path) {
  char* absolute = nbdkit_absolute_path(value);
  if (absolute == nullptr) {
    return -1;
  }
  path = absolute;
  free(absolute);
  return 0;
}

// The files that an address names are meant from here, too.
int make_level_absolute(const char* value, std::string& path) {
  if (!is_nbd_uri(value)) {
    return make_absolute(value, path);
  }
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  if (error) {
    nbdkit_error("%s: the working directory is not known: %s", shown_nbd_uri(value).c_str(),
                 error.message().c_str());
    return -1;
  }
  path = absolute_nbd_uri(value, here);
  return 0;
}

int check_once(const char* what, const std::string& path, const char* value) {
  if (!path.empty()) {
    nbdkit_error("%s is given twice: %s and %s", what, shown_level(path).c_str(),
                 shown_level(value).c_str());
    return -1;
  }
  return 0;
}

int set_path(const char* what, std::string& path, const char* value) {
  return check_once(what, path, value) == -1 ? -1 : make_absolute(value, path);
}

int add_level(std::vector<std::string>& paths, const char* value) {
  return make_level_absolute(value, paths.emplace_back());
}

int check_upper(const std::string& path) {
  if (!is_nbd_uri(path)) {
    return 0;
  }
  nbdkit_error("%s: an upper must be a file; only what is below it may be at another server",
               shown_nbd_uri(path).c_str());
  return -1;
}

int set_of_remote(RemoteOptions& options, const char* key, const char* value) {
  unsigned number = 0;
  if (nbdkit_parse_unsigned(key, value, &number) == -1) {
    return -1;
  }
  if (strcmp(key, "timeout") == 0) {
    options.timeout = std::chrono::seconds(number);
    return 0;
  }
  if (number < 1 || number > RemoteOptions::kMostConnections) {
    nbdkit_error("connections=%s: must be from 1 to %u", value, RemoteOptions::kMostConnections);
    return -1;
  }
  options.connections = number;
  return 0;
}

int set_prefetch(LevelCache& cache, const char* value) {
  using Prefetch = LevelCache::Prefetch;
  if (strcmp(value, "auto") == 0 || strcmp(value, "off") == 0) {
    cache.prefetch = strcmp(value, "auto") == 0 ? Prefetch::kAuto : Prefetch::kOff;
    return 0;
  }
  cache.prefetch = Prefetch::kList;
  return make_absolute(value, cache.list_path);
}

int set_of_cache(LevelCache& cache, const char* key, const char* value) {
  if (strcmp(key, "cache") == 0) {
    return set_path("cache", cache.path, value);
  }
  if (strcmp(key, "cache-size") == 0) {
    const int64_t size = nbdkit_parse_size(value);
    if (size == 0) {
      nbdkit_error("cache-size=%s: a cache takes space; without cache= there is none", value);
    }
    cache.most_bytes = size > 0 ? static_cast<uint64_t>(size) : 0;
    return size > 0 ? 0 : -1;
  }
  if (strcmp(key, "cache-id") == 0) {
    cache.id = value;
    return 0;
  }
  if (strcmp(key, "prefetch") == 0) {
    return set_prefetch(cache, value);
  }
  nbdkit_error("unknown parameter '%s'", key);
  return -1;
}

// What goes with a cache goes with nothing else.
int complete_cache(LevelCache& cache) {
  const bool has_more =
      cache.most_bytes != 0 || !cache.id.empty() || cache.prefetch != LevelCache::Prefetch::kAuto;
  if (cache.path.empty() && has_more) {
    nbdkit_error("cache-size=, cache-id= and prefetch= go with cache=FILE, which is not given");
    return -1;
  }
  std::error_code error;
  cache.is_directory =
      cache.path.ends_with('/') || std::filesystem::is_directory(cache.path, error);
  return 0;
}

// The first bare parameter is the lower, the last one the upper (with dir= there is none), and
// layers lie between, but for what was given by its key.
int place_bare_paths(PluginParameters& parameters) {
  std::vector<std::string>& bare = parameters.bare_paths;
  if (parameters.lower_path.empty() && !bare.empty()) {
    parameters.lower_path = bare.front();
    bare.erase(bare.begin());
  }
  if (parameters.overlay.upper_path.empty() && !parameters.has_many_disks() && !bare.empty()) {
    parameters.overlay.upper_path = bare.back();
    bare.pop_back();
  }
  if (bare.empty()) {
    return 0;
  }
  if (!parameters.layer_paths.empty()) {
    nbdkit_error("%s: is one image too many beside layer=%s: give all layers by their key, or none",
                 shown_level(bare.front()).c_str(),
                 shown_level(parameters.layer_paths.front()).c_str());
    return -1;
  }
  parameters.layer_paths = std::exchange(bare, {});
  return 0;
}

// Octal, and no less than what the next server needs.
int set_mode(OverlayOptions& options, const char* value) {
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

// Of a server of many disks; 1: it is none of these.
int set_of_exports(PluginParameters& parameters, const char* key, const char* value) {
  if (strcmp(key, "dir") == 0) {
    return set_path("dir", parameters.directory_path, value);
  }
  if (strcmp(key, "create") == 0) {
    const int may_create = nbdkit_parse_bool(value);
    parameters.may_create = may_create == 1;
    return may_create == -1 ? -1 : 0;
  }
  if (strcmp(key, "max-exports") == 0) {
    uint32_t count = 0;
    const int result = nbdkit_parse_uint32_t("max-exports", value, &count);
    parameters.max_exports = count;
    return result;
  }
  if (strcmp(key, "default-export") == 0) {
    const Result<void> checked = check_export_name(value);
    if (!checked) {
      nbdkit_error("default-export: %s", checked.error().message.c_str());
      return -1;
    }
    parameters.default_export = value;
    return 0;
  }
  return 1;
}

int check_exports(const PluginParameters& parameters) {
  const bool has_upper = !parameters.overlay.upper_path.empty();
  if (parameters.has_many_disks() && has_upper) {
    nbdkit_error("upper=%s: with dir= each export is an upper, so none is given",
                 parameters.overlay.upper_path.c_str());
    return -1;
  }
  if (!parameters.has_many_disks() &&
      (parameters.may_create || parameters.max_exports || !parameters.default_export.empty())) {
    nbdkit_error("create=, max-exports= and default-export= mean nothing without dir=");
    return -1;
  }
  return 0;
}

}  // namespace

const char* const kParametersHelp =
    "[lower=]<FILE>|<URI>  (required) The ext2 image below, never written: a file,\n"
    "                    or what an NBD server has, as nbd://HOST/EXPORT.\n"
    "layer=<FILE>|<URI>  A sealed layer over it; once for each, the lowest first.\n"
    "                    Bare, layers lie between the lower and the upper.\n"
    "[upper=]<FILE>      The layer over all, created if missing;\n"
    "                    without one changes are gone at exit.\n"
    "size=<SIZE>         Size of the disk; a larger one makes an upper grow\n"
    "                    (default: the upper's; for a new one the lower's,\n"
    "                    plus as much or 1G).\n"
    "mode=<MODE>         Mode of a new upper, octal (default: as the lower's,\n"
    "                    but no more than 0644).\n"
    "checkpoint=auto|never  Whether what was written becomes a layer of\n"
    "                    files when the last client has gone (default: auto).\n"
    "shared=<BOOL>       Whether several clients may write at once (default: false).\n"
    "timeout=<SECONDS>   How long a request waits for the server of a URI, before it\n"
    "                    fails; 0: for ever (default: 25).\n"
    "connections=<N>     At most so many to such a server, 1 to 4 (default: 4).\n"
    "cache=<FILE>|<DIRECTORY>  What was read of a lower with a URI is kept in this\n"
    "                    file, for all servers of this host that name it. In a\n"
    "                    directory each level with a URI has a file.\n"
    "cache-size=<SIZE>   Of this host's space a file takes no more (default: no\n"
    "                    limit).\n"
    "cache-id=<WORD>     Part of what a cache must match (default: empty).\n"
    "prefetch=auto|off|<FILE>  What a disk read first the last time is fetched ahead\n"
    "                    (auto, default), or what a list names.\n"
    "control=<SOCKET>    A unix socket that tells how the disk does, and takes\n"
    "                    orders: HTTP, for this user only.\n"
    "dir=<DIRECTORY>     Instead of an upper: many disks. The export NAME is the\n"
    "                    upper NAME.img in the directory, created at the first\n"
    "                    write.\n"
    "create=<BOOL>       With dir=: whether uppers are created (default: true).\n"
    "max-exports=<N>     With dir=: no more uppers than these are created\n"
    "                    (default: 9999).\n"
    "default-export=<NAME>  With dir=: what a client gets that gives no name.";

int set_parameter(PluginParameters& parameters, const char* key, const char* value) {
  OverlayOptions& options = parameters.overlay;
  if (strcmp(key, "lower") == 0) {
    return check_once("lower", parameters.lower_path, value) == -1
               ? -1
               : make_level_absolute(value, parameters.lower_path);
  }
  if (strcmp(key, "layer") == 0) {
    return add_level(parameters.layer_paths, value);
  }
  if (strcmp(key, "upper") == 0) {
    return check_upper(value) == -1 ? -1 : set_path("upper", options.upper_path, value);
  }
  if (strcmp(key, "image") == 0) {  // a bare parameter
    return add_level(parameters.bare_paths, value);
  }
  if (strcmp(key, "size") == 0) {
    const int64_t size = nbdkit_parse_size(value);
    if (size == -1) {
      return -1;
    }
    options.size_bytes = static_cast<uint64_t>(size);
    return 0;
  }
  if (strcmp(key, "timeout") == 0 || strcmp(key, "connections") == 0) {
    return set_of_remote(options.remote, key, value);
  }
  if (strncmp(key, "cache", strlen("cache")) == 0 || strcmp(key, "prefetch") == 0) {
    return set_of_cache(options.cache, key, value);
  }
  if (strcmp(key, "mode") == 0) {
    return set_mode(options, value);
  }
  if (strcmp(key, "checkpoint") == 0) {
    if (strcmp(value, "auto") != 0 && strcmp(value, "never") != 0) {
      nbdkit_error("checkpoint=%s: must be auto or never", value);
      return -1;
    }
    parameters.checkpoints_by_itself = strcmp(value, "auto") == 0;
    return 0;
  }
  if (strcmp(key, "shared") == 0) {
    const int shared = nbdkit_parse_bool(value);
    parameters.is_shared = shared == 1;
    return shared == -1 ? -1 : 0;
  }
  if (strcmp(key, "control") == 0) {
    return set_path("control", parameters.control_path, value);
  }
  const int result = set_of_exports(parameters, key, value);
  if (result == 1) {
    nbdkit_error("unknown parameter '%s'", key);
  }
  return result == 0 ? 0 : -1;
}

int complete_parameters(PluginParameters& parameters) {
  OverlayOptions& options = parameters.overlay;
  if (place_bare_paths(parameters) == -1 || check_upper(options.upper_path) == -1 ||
      check_exports(parameters) == -1 || complete_cache(options.cache) == -1) {
    return -1;
  }
  if (parameters.lower_path.empty()) {
    nbdkit_error("the lower image is missing: give it as the first parameter, or as lower=FILE");
    return -1;
  }
  options.remote.starts_at_once = false;  // nbdkit forks
  options.level_paths = {parameters.lower_path};
  options.level_paths.insert(options.level_paths.end(), parameters.layer_paths.begin(),
                             parameters.layer_paths.end());
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

}  // namespace unionfs
