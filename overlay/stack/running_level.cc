// SPDX-License-Identifier: BSD-3-Clause
//
// The part of Chain that knows levels with sessions: frozen ones, and those that are about to be.
#include "overlay/stack/chain.h"

#include <algorithm>

#include "overlay/stack/freeze.h"
#include "overlay/stack/seal.h"
#include "overlay/upper/live_stamp.h"
#include "overlay/upper/upper_state.h"

namespace unionfs {

namespace {

constexpr uint32_t kAllWriteBits = 0222;

// Whether the upper of this path stands on the frozen level with this chain digest.
bool stands_on(const std::string& upper_path, const upper_format::Digest& chain) {
  const auto file = PosixFile::open(upper_path, FileLock::kNone);
  if (!file) {
    return false;
  }
  const Result<UpperState> state = read_upper_state(**file);
  return state && state->area.is_void() && state->area.parent.chain == chain;
}

}  // namespace

Result<LevelIdentity> Chain::identity_of(const FrozenLevel& level) const {
  LevelIdentity identity = top().identity();
  if (level.area.is_void()) {
    identity.frozen_chain = chain_digest_of_frozen(*identity.frozen_chain, level.area);
  } else {
    UNIONFS_ASSIGN(const upper_format::Digest shape, shape_digest_of(*level.layer));
    identity.kind = upper_format::ParentKind::kLayer;
    identity.chain = chain_digest_of_layer(top().chain_digest(), shape);
    identity.path = level.file->name();
    identity.frozen_chain = chain_digest_of_frozen(top().chain_digest(), level.area);
  }
  identity.frozen_path = level.file->name();
  return identity;
}

// The next upper sees its session, but a layer is only ever made over the layer below that.
Result<void> Chain::add_frozen(FrozenLevel level) {
  UNIONFS_ASSIGN(LevelIdentity identity, identity_of(level));
  const bool is_void = level.area.is_void();
  const LayerOverLower* base = is_void ? top().layer() : level.layer.get();
  if (is_void && frozen_view() != nullptr) {
    UNIONFS_TRY(check_size_of_parent(*level.layer, *frozen_view()));
  }
  auto view = std::make_unique<MergedView>(*level.layer, level.written.get(),
                                           is_void ? frozen_view() : nullptr);
  UNIONFS_ASSIGN(auto below, LayerBelow::open_frozen(*base, std::move(identity)));
  files_.push_back(std::move(level.file));
  layers_.push_back(std::move(level.layer));
  belows_.push_back(std::move(below));
  const bool is_unproven = (level.area.flags & upper_format::kFlagUnproven) != 0;
  sessions_.push_back(
      {std::move(level.written), std::move(view), level.area.freeze_id, is_unproven});
  is_top_frozen_ = true;
  return {};
}

// A session by itself is asked as fast without.
void Chain::flatten_top() {
  if (sessions_.back().view->parent() != nullptr) {
    sessions_.back().view->flatten();
  }
}

// Who has the level from elsewhere asks its table.
std::unique_ptr<const SessionRuns> Chain::forget_runs_below() {
  const bool has_own_below =
      sessions_.back().view->parent() != nullptr && sessions_.size() - 2 >= shared_sessions_;
  return has_own_below ? sessions_[sessions_.size() - 2].view->forget_runs() : nullptr;
}

// Nobody reads through the levels yet.
Result<void> Chain::add_unchanging(FrozenLevel level) {
  UNIONFS_TRY(add_frozen(std::move(level)));
  flatten_top();
  (void)forget_runs_below();
  return {};
}

Result<void> Chain::add_running(std::unique_ptr<PosixFile> file, const upper_format::Digest& id,
                                std::shared_ptr<SessionBitmap> written, const LogSink& log) {
  auto level = std::make_unique<LevelFile>(std::move(file));
  UNIONFS_ASSIGN(auto layer, LayerOverLower::load(top(), level->bytes(), log));
  StateArea area = layer->area();
  area.freeze_id = id;
  return add_frozen({std::move(level), std::move(layer), area, std::move(written)});
}

// Only for the upper that stands on it: to others it may still change.
Result<void> Chain::add_freezing(std::unique_ptr<LevelFile> file,
                                 std::unique_ptr<LayerOverLower> layer) {
  StateArea area = layer->area();
  if (file->is_remote()) {
    return check_may_write(file->name(), area);  // which says what it is
  }
  UNIONFS_ASSIGN(const std::string boot_id, read_boot_id());
  UNIONFS_ASSIGN(const bool live, is_live_current(file->bytes(), area, boot_id));
  UNIONFS_ASSIGN(std::shared_ptr<SessionBitmap> written,
                 SessionBitmap::open_for_reading(file->bytes(),
                                                 live ? area.live_bitmap : area.durable_bitmap));
  area.flags |= live ? 0 : upper_format::kFlagUnproven;
  FrozenLevel level{std::move(file), std::move(layer), area, std::move(written)};
  UNIONFS_ASSIGN(const LevelIdentity identity, identity_of(level));
  if (upper_path_.empty() || !stands_on(upper_path_, *identity.frozen_chain)) {
    return check_may_write(level.file->name(), area);  // which says what it is
  }
  // The server that wrote to it is dead, and what it shows is what was found now.
  UNIONFS_TRY(add_unchanging(std::move(level)));
  is_top_freezing_ = true;
  return {};
}

void Chain::remove_top() {
  sessions_.pop_back();
  shared_sessions_ = std::min(shared_sessions_, sessions_.size());
  belows_.pop_back();
  layers_.pop_back();
  files_.pop_back();
  is_top_frozen_ = !layers_.empty() && top().identity().frozen_chain.has_value();
  is_top_freezing_ = false;
}

void Chain::remove_void_levels() {
  while (!layers_.empty() && layers_.back()->area().is_void()) {
    remove_top();
  }
}

bool Chain::is_unproven() const {
  for (size_t i = 0; is_top_frozen_ && i < sessions_.size(); ++i) {
    const size_t from_top = sessions_.size() - 1 - i;
    if (sessions_[from_top].is_unproven) {
      return true;
    }
    if (!layers_[layers_.size() - 1 - i]->area().is_void()) {
      break;  // what is below it is no session of this one
    }
  }
  return false;
}

Result<void> Chain::finish_freezing(const LogSink& log) {
  if (!is_top_freezing_) {
    return {};
  }
  PosixFile& level = top_handle();
  // Also after a power loss nothing may become durable over a name that is not.
  UNIONFS_TRY(sync_directory_of(level.name()));
  UNIONFS_TRY(level.change_lock(FileLock::kNone));
  Result<void> frozen = freeze_top();
  UNIONFS_TRY(level.change_lock(FileLock::kSharedUpper));
  UNIONFS_TRY(std::move(frozen));
  is_top_freezing_ = false;
  log(fmt::format("{}: a snapshot that was cut off has come to its end", level.name()));
  return {};
}

Result<void> Chain::freeze_top() {
  UNIONFS_ASSIGN(const auto writer, PosixFile::open(top_name(), FileLock::kExclusive));
  if (!writer->is_same_file(top_handle())) {
    return system_failure(EBUSY, fmt::format("{}: was replaced meanwhile", writer->name()));
  }
  UNIONFS_TRY(writer->make_writable());
  const bool is_void = layers_.back()->area().is_void();
  const MergedView* parent = is_void ? sessions_[sessions_.size() - 2].view.get() : nullptr;
  UNIONFS_TRY(
      freeze_upper(*belows_[belows_.size() - 2], parent, *writer, [](const std::string&) {}));
  return writer->set_mode(writer->mode() & ~kAllWriteBits);
}

}  // namespace unionfs
