// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/stack/chain.h"

#include <sys/stat.h>

#include <algorithm>

#include "fsparse/printable.h"
#include "overlay/remote/nbd_uri.h"
#include "overlay/stack/read_ahead.h"
#include "overlay/stack/seal.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {
namespace {

// The state of what may be an upper; nothing of what is none, or not there.
std::optional<StateArea> state_at(const std::string& path) {
  const auto file = PosixFile::open(path, FileLock::kNone);
  if (!file) {
    return std::nullopt;
  }
  Result<UpperState> state = read_upper_state(**file);
  return state ? std::optional(state->area) : std::nullopt;
}

// A name leads to nothing but a file of this directory.
bool is_file_here(const std::string& path) {
  struct stat status = {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace

std::string level_options(const LevelPaths& paths) {
  std::string options;
  for (const std::string& path : paths) {
    options += fmt::format("{}-b {}", options.empty() ? "" : " ", shell_word(shown_level(path)));
  }
  return options;
}

Result<std::unique_ptr<Chain>> Chain::open(const LevelPaths& paths, FileLock lock,
                                           const LogSink& log, const RemoteOptions& remote) {
  std::unique_ptr<Chain> chain(new Chain());
  UNIONFS_TRY(chain->add_all(paths, {lock, log, remote}));
  return chain;
}

Result<std::unique_ptr<Chain>> Chain::open_below(const LevelPaths& paths,
                                                 const std::string& upper_path, FileLock lock,
                                                 const LogSink& log, const RemoteOptions& remote) {
  std::unique_ptr<Chain> chain(new Chain());
  chain->upper_path_ = upper_path;
  UNIONFS_TRY(chain->add_all(paths, {lock, log, remote}));
  UNIONFS_TRY(chain->add_missing(upper_path, {lock, log, remote}));
  return chain;
}

// What is missing is looked for among files.
Result<std::unique_ptr<Chain>> Chain::open_above(const Chain& base, const std::string& upper_path,
                                                 FileLock lock, const LogSink& log) {
  std::unique_ptr<Chain> chain(new Chain(base));
  chain->upper_path_ = upper_path;
  chain->shared_sessions_ = chain->sessions_.size();
  UNIONFS_TRY(chain->add_missing(upper_path, {lock, log, {}}));
  return chain;
}

Chain::MaybeFile Chain::open_file(const std::string& path, bool is_lower, const Opening& opening) {
  const bool is_locked = opening.lock != FileLock::kNone;
  const FileLock of_layer = is_locked ? FileLock::kSharedUpper : FileLock::kNone;
  return LevelFile::open(path, is_lower ? opening.lock : of_layer, opening.remote, opening.log);
}

// And what the rest of the opening reads of those at other servers.
Result<std::vector<Chain::MaybeFile>> Chain::open_side_by_side(const LevelPaths& paths,
                                                               const Opening& opening) {
  std::vector<MaybeFile> files(paths.size());
  side_by_side(paths.size(), [&](size_t i) { files[i] = open_file(paths[i], i == 0, opening); });
  std::vector<const LevelFile*> opened;
  for (size_t i = 0; i < files.size() && files[i]; ++i) {
    opened.push_back(files[i]->get());
  }
  UNIONFS_TRY(read_ahead(opened));
  return files;
}

// The first level that has an error tells it.
Result<void> Chain::add_all(const LevelPaths& paths, const Opening& opening) {
  std::vector<MaybeFile> files;
  if (std::ranges::any_of(paths, is_nbd_uri) && paths.size() <= FlatRuns::kMaxLayers + 1) {
    UNIONFS_ASSIGN(files, open_side_by_side(paths, opening));
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    MaybeFile file = i < files.size() ? std::move(files[i]) : open_file(paths[i], i == 0, opening);
    UNIONFS_TRY(i == 0 ? add_lower(std::move(file), opening)
                       : add_layer(paths[i], std::move(file), opening));
    if (files_.back()->is_remote()) {
      remote_.push_back(files_.back());
    }
  }
  return {};
}

Result<void> Chain::add_missing(const std::string& upper_path, const Opening& opening) {
  UNIONFS_ASSIGN(const LevelPaths missing, missing_layers(upper_path));
  for (const std::string& path : missing) {
    UNIONFS_TRY(add_layer(path, open_file(path, false, opening), opening));
  }
  return {};
}

Result<void> Chain::add_lower(MaybeFile opened, const Opening& opening) {
  UNIONFS_ASSIGN(auto file, std::move(opened));
  UNIONFS_ASSIGN(auto image, LowerImage::open(file->bytes()));
  UNIONFS_TRY(file->know_as_lower(image->volume()));
  if (opening.remote.starts_at_once) {
    file->start();
  }
  files_.push_back(std::move(file));
  belows_.push_back(std::move(image));
  return {};
}

Result<void> Chain::add_layer(const std::string& path, MaybeFile opened, const Opening& opening) {
  if (is_full()) {
    return unsupported("{}: there are {} layers below it, and no more can be stacked; squash some",
                       shown_level(path), layers_.size());
  }
  UNIONFS_ASSIGN(auto file, std::move(opened));
  if (has_level(*file)) {
    return invalid("{}: is given as two levels", file->name());
  }
  UNIONFS_ASSIGN(auto layer, LayerOverLower::load(top(), file->bytes(), opening.log));
  const StateArea area = layer->area();
  UNIONFS_TRY(file->know_as_layer(layer->upper(), area));
  if (opening.remote.starts_at_once) {
    file->start();
  }
  if (area.is_freezing()) {
    return add_freezing(std::move(file), std::move(layer));
  }
  if (!area.is_frozen()) {
    return add_sealed(std::move(file), std::move(layer));
  }
  UNIONFS_ASSIGN(std::shared_ptr<SessionBitmap> written,
                 SessionBitmap::open_for_reading(file->bytes(), area.durable_bitmap));
  return add_unchanging({std::move(file), std::move(layer), area, std::move(written)});
}

Result<void> Chain::add_sealed(std::unique_ptr<LevelFile> file,
                               std::unique_ptr<LayerOverLower> layer) {
  UNIONFS_TRY(check_sealed(*layer));
  UNIONFS_ASSIGN(auto below, LayerBelow::open(*layer));
  files_.push_back(std::move(file));
  layers_.push_back(std::move(layer));
  belows_.push_back(std::move(below));
  is_top_frozen_ = false;
  return {};
}

const MergedView* Chain::frozen_view() const {
  return is_top_frozen_ ? sessions_.back().view.get() : nullptr;
}

// From the upper down to the topmost level that is there.  Whether they are the right ones
// shows when they are opened: a layer knows the digest of all that is below it.
Result<LevelPaths> Chain::missing_layers(const std::string& upper_path) const {
  LevelPaths missing;
  const LevelIdentity known = top().identity();
  const upper_format::Digest known_chain = top().chain_digest();
  Result<std::string> path = real_path_of(upper_path);
  if (!path) {
    return missing;
  }
  const std::string directory = path->substr(0, path->rfind('/') + 1);
  for (std::optional<StateArea> area = state_at(*path); area && area->has_parent();) {
    const bool is_known = area->parent.chain == known_chain ||
                          (known.frozen_chain && area->parent.chain == *known.frozen_chain);
    if (is_known) {
      break;
    }
    const std::string name = parent_name(*area);
    const std::string parent = directory + name;
    const bool is_again = std::find(missing.begin(), missing.end(), parent) != missing.end();
    if (name.empty() || !is_file_here(parent) || parent == *path || is_again ||
        missing.size() == FlatRuns::kMaxLayers) {
      return LevelPaths();  // the upper says what it expects
    }
    missing.push_back(parent);
    area = state_at(parent);
  }
  std::reverse(missing.begin(), missing.end());
  return missing;
}

bool Chain::has(const PosixFile& file) const {
  return std::ranges::any_of(files_, [&](const auto& level) {
    return level->host() != nullptr && level->host()->is_same_file(file);
  });
}

bool Chain::has_level(const LevelFile& file) const {
  return std::ranges::any_of(files_, [&](const auto& level) { return level->is_same_file(file); });
}

bool Chain::has_remote() const {
  return std::ranges::any_of(files_, [](const auto& level) { return level->is_remote(); });
}

void Chain::suspend_remote() const {
  for (const auto& file : files_) {
    file->suspend();
  }
}

void Chain::start_remote(const LevelCache& cache, const LogSink& log) const {
  for (const auto& file : remote_) {
    file->start();
  }
  if (cache.is_directory) {
    CacheFile::remove_leftovers_in(cache.path);
  }
  side_by_side(remote_.size(), [&](size_t i) {
    if (remote_[i] == files_.front()) {
      remote_[i]->use_cache(cache, log);
    } else if (cache.is_directory) {
      remote_[i]->use_cache(cache.of_layer(), log);
    }
  });
}

void Chain::end_soon() const {
  for (const auto& file : remote_) {
    file->end_soon();
  }
}

Result<void> Chain::check_cache(const LevelCache& cache) const {
  if (cache.path.empty()) {
    return {};
  }
  const bool is_for_lower =
      !cache.is_directory || remote_.empty() || cache.prefetch == LevelCache::Prefetch::kList;
  if (is_for_lower || files_.front()->is_remote()) {
    UNIONFS_TRY(files_.front()->check_cache(cache));
  }
  for (const auto& file : remote_) {
    UNIONFS_TRY(file == files_.front() || !cache.is_directory
                    ? Result<void>()
                    : file->check_cache(cache.of_layer()));
  }
  return {};
}

void Chain::client_came() const {
  for (const auto& file : remote_) {
    file->client_came();
  }
}

void Chain::client_went() const {
  for (const auto& file : remote_) {
    file->client_went();
  }
}

bool Chain::has_cache() const {
  return std::ranges::any_of(remote_, [](const auto& file) { return file->has_cache(); });
}

CacheCounters Chain::cache_counters() const {
  CacheCounters sum;
  for (const auto& file : remote_) {
    const CacheCounters counters = file->cache_counters();
    sum.hits += counters.hits;
    sum.misses += counters.misses;
    sum.joined += counters.joined;
    sum.ahead += counters.ahead;
  }
  return sum;
}

uint32_t Chain::mode_for_data_in(const PosixFile& upper) const {
  uint32_t mode = files_.front()->mode_for_data_in(upper);
  for (const auto& file : files_) {
    mode &= file->mode_for_data_in(upper);
  }
  return mode;
}

LevelPaths Chain::paths() const {
  LevelPaths paths;
  for (const auto& file : files_) {
    paths.push_back(file->location());
  }
  return paths;
}

std::string Chain::as_options() const {
  return level_options(paths());
}

}  // namespace unionfs
