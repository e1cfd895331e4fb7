// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/disk.h"

#include <exception>

#include "overlay/checkpoint/grow.h"
#include "overlay/host/cancellation.h"
#include "overlay/merged/merged_image.h"

namespace unionfs {

using upper_format::kFlagInUse;
using upper_format::kFlagUnproven;

// What somebody wrote earlier, for who may not write.
struct Disk::Reading {
  Reading(const LayerOverLower& layer, std::unique_ptr<SessionBitmap> written,
          const MergedView* parent)
      : bitmap(std::move(written)), view(layer, bitmap.get(), parent) {}

  const std::unique_ptr<SessionBitmap> bitmap;
  const MergedView view;
};

// A session and what it stands on.
struct Disk::Writing {
  Writing(const LayerOverLower& layer, std::shared_ptr<SessionBitmap> written,
          const MergedView* parent, std::unique_ptr<LiveStamp> its_stamp)
      : bitmap(std::move(written)),
        view(layer, bitmap.get(), parent),
        stamp(std::move(its_stamp)) {}

  const std::shared_ptr<SessionBitmap> bitmap;
  const MergedView view;
  const std::unique_ptr<LiveStamp> stamp;
  ext2::Superblock first_superblock = {};  // merged, when the session began
  std::unique_ptr<Session> session;
};

Result<std::unique_ptr<Disk>> Disk::load(const Below& below, WritableFile& upper,
                                         std::string boot_id, LogSink log, Clock& clock,
                                         const MergedView* frozen, Flusher* flusher) {
  UNIONFS_ASSIGN(auto layer, LayerOverLower::load(below, upper, log));
  const bool is_void = layer->area().is_void();
  if (is_void && frozen == nullptr) {
    return invalid(
        "{}: has no layer of its own yet, because it stands on a frozen session; make a checkpoint "
        "first",
        upper.name());
  }
  if (is_void) {
    UNIONFS_TRY(check_size_of_parent(*layer, *frozen));
  }
  return std::unique_ptr<Disk>(new Disk(std::move(layer), upper, std::move(boot_id), std::move(log),
                                        clock, is_void ? frozen : nullptr, flusher));
}

Disk::Disk(std::unique_ptr<LayerOverLower> layer, WritableFile& upper, std::string boot_id,
           LogSink log, Clock& clock, const MergedView* parent, Flusher* flusher)
    : layer_(std::move(layer)),
      upper_file_(upper),
      boot_id_(std::move(boot_id)),
      log_(std::move(log)),
      clock_(clock),
      area_(layer_->area()),
      parent_(parent),
      flusher_(flusher),
      unwritten_view_(*layer_, nullptr, parent),
      changing_levels_(*layer_, parent_),
      view_(&unwritten_view_) {}

Disk::~Disk() = default;

// ---- clients -------------------------------------------------------------------

Result<void> Disk::attach(Access access) {
  const MutexLock lock(open_mutex_);
  if (writing_ != nullptr || (access == Access::kReadOnly && reading_ != nullptr)) {
    return {};
  }
  return access == Access::kReadOnly ? show_to_readers() : begin_session();
}

Result<void> Disk::show_to_readers() {
  std::unique_ptr<SessionBitmap> bitmap;
  if (has_journal()) {
    bitmap = SessionBitmap::make_empty(bitmap_size_bytes(geometry()));
  } else {
    UNIONFS_ASSIGN(const bool live, is_live_current(upper_file_, area_, boot_id_));
    UNIONFS_ASSIGN(bitmap, SessionBitmap::open_for_reading(
                               upper_file_, live ? area_.live_bitmap : area_.durable_bitmap));
  }
  reading_ = std::make_unique<Reading>(*layer_, std::move(bitmap), parent_);
  view_.store(&reading_->view, std::memory_order_release);
  return {};
}

// It has begun when writing_ is set; whatever fails before, the next client tries all of
// it anew, and who only reads goes on as before.
Result<void> Disk::begin_session() {
  UNIONFS_TRY(check_can_write());
  const uint32_t flags = area_.flags;
  Result<std::unique_ptr<Writing>> prepared = prepare_session();
  if (!prepared) {
    area_.flags = flags;
    return Failure(std::move(prepared).error());
  }
  writing_ = std::move(*prepared);
  writing_->session->start();
  view_.store(&writing_->view, std::memory_order_release);
  session_.store(writing_->session.get(), std::memory_order_release);
  return {};
}

Result<std::unique_ptr<Disk::Writing>> Disk::prepare_session() {
  UNIONFS_ASSIGN(const bool live, is_live_current(upper_file_, area_, boot_id_));
  UNIONFS_ASSIGN(auto stamp, LiveStamp::open(upper_file_, area_));
  if (!live) {
    // While the live bitmap is made anew it must not pass for a current one.
    UNIONFS_TRY(stamp->clear());
  }
  UNIONFS_ASSIGN(auto bitmap, SessionBitmap::open_for_writing(upper_file_, area_.live_bitmap,
                                                              area_.durable_bitmap, live));
  auto writing = std::make_unique<Writing>(*layer_, std::move(bitmap), parent_, std::move(stamp));
  if ((area_.flags & kFlagInUse) != 0 && !writing->bitmap->is_empty()) {
    area_.flags |= live ? 0 : kFlagUnproven;
    log_(
        fmt::format("{}: the session of an earlier server, which was {}, goes on with {} blocks",
                    upper_file_.name(),
                    live ? "killed" : "cut off by a power loss or a restart of the host, or copied",
                    writing->bitmap->count_set(BlockNumber(geometry().merged().block_count))));
  }
  area_.flags |= kFlagInUse;
  UNIONFS_TRY(write_state_header(upper_file_, area_));
  if (Result<void> synced = upper_file_.sync(); !synced) {
    // The host may have dropped what the last server wrote and did not flush.
    clear_stamp(*writing->stamp);
    return Failure(std::move(synced).error());
  }
  if (upper_file_.size_bytes() > area_.end()) {
    // The journal of a checkpoint that died before its commit.
    UNIONFS_TRY(upper_file_.resize(area_.end()));
  }
  UNIONFS_TRY(writing->view.read(ext2::kSuperblockOffsetBytes,
                                 std::as_writable_bytes(std::span(&writing->first_superblock, 1))));
  writing->session = std::make_unique<Session>(
      upper_file_, area_, writing->view, *writing->bitmap,
      [this, stamp = writing->stamp.get()] { clear_stamp(*stamp); }, log_, clock_, flusher_);
  UNIONFS_TRY(writing->stamp->write(area_.session_number, boot_id_));
  return writing;
}

void Disk::clear_stamp(LiveStamp& stamp) const {
  if (const Result<void> cleared = stamp.clear(); !cleared) {
    log_(fmt::format("{}; what was not flushed may be believed at the next start",
                     cleared.error().message));
  }
}

void Disk::watch_lower() {
  const MutexLock lock(open_mutex_);
  if (lower_watch_ != nullptr || !layer_->has_uncompared()) {
    return;
  }
  try {
    lower_watch_ = std::make_unique<LowerWatch>(*layer_, log_);
    watch_.store(lower_watch_.get(), std::memory_order_release);
  } catch (const std::exception& exception) {  // no thread
    log_(fmt::format("the rest of the lower is not compared before a checkpoint: {}",
                     exception.what()));
  }
}

Result<void> Disk::check_lower() const {
  UNIONFS_TRY(changing_levels_.check_not_replaced());
  const LowerWatch* watch = watch_.load(std::memory_order_acquire);
  return watch != nullptr ? watch->check_same() : Result<void>();
}

Result<void> Disk::close() {
  if (writing_ == nullptr) {
    return {};
  }
  Session& session = *writing_->session;
  session.stop();
  UNIONFS_TRY(session.flush());
  if (!check_lower()) {
    // What stands on another lower becomes no layer of the right one by itself.
    area_.flags |= kFlagUnproven;
  }
  area_.flags &= ~kFlagInUse;
  UNIONFS_TRY(write_state_header(upper_file_, area_));
  UNIONFS_TRY(session.sync());
  return check_lower();
}

// ---- requests ------------------------------------------------------------------

bool Disk::has_failed() const {
  const Session* session = session_.load(std::memory_order_acquire);
  return (session != nullptr && session->has_failed()) || !check_lower();
}

Result<void> Disk::check_alive() const {
  UNIONFS_TRY(check_lower());
  const Session* session = session_.load(std::memory_order_acquire);
  return session != nullptr ? session->check_alive() : Result<void>();
}

Result<Session*> Disk::writing_session() const {
  Session* session = session_.load(std::memory_order_acquire);
  if (session == nullptr) {
    return system_failure(EPERM, fmt::format("{}: no client may write", upper_file_.name()));
  }
  UNIONFS_TRY(check_alive());
  return session;
}

Result<void> Disk::read(uint64_t offset, ByteSpan buffer) const {
  UNIONFS_TRY(check_alive());
  return view().read(offset, buffer, ReadBy::kClient);
}

Result<void> Disk::write(uint64_t offset, ConstByteSpan bytes) {
  UNIONFS_ASSIGN(Session * session, writing_session());
  return session->write(offset, bytes);
}

Result<void> Disk::zero(uint64_t offset, uint64_t length, ZeroOptions options) {
  UNIONFS_ASSIGN(Session * session, writing_session());
  return session->zero(offset, length, options);
}

Result<void> Disk::trim(uint64_t offset, uint64_t length) {
  UNIONFS_ASSIGN(Session * session, writing_session());
  return session->trim(offset, length);
}

Result<void> Disk::flush() {
  UNIONFS_TRY(check_alive());
  Session* session = session_.load(std::memory_order_acquire);
  return session != nullptr ? session->flush() : Result<void>();
}

Result<void> Disk::prefetch(uint64_t offset, uint64_t length) const {
  UNIONFS_TRY(check_alive());
  view().prefetch(offset, length);
  return {};
}

bool Disk::can_zero_fast(bool may_trim) const {
  const Session* session = session_.load(std::memory_order_acquire);
  return session != nullptr && session->can_zero_fast(may_trim);
}

// ---- snapshots -------------------------------------------------------------------

Result<void> Disk::begin_freezing(const upper_format::Digest& id) {
  area_.features.incompat |= upper_format::kIncompatFreezing;
  area_.freeze_id = id;
  UNIONFS_TRY(write_state_header(upper_file_, area_));
  return writing_->session->sync();
}

Result<void> Disk::cancel_freezing() {
  area_.features.incompat &= ~upper_format::kIncompatFreezing;
  area_.freeze_id = {};
  UNIONFS_TRY(write_state_header(upper_file_, area_));
  return writing_ != nullptr ? writing_->session->sync() : upper_file_.sync();
}

void Disk::flush_by_itself(bool flushes) {
  if (flushes) {
    writing_->session->start();
  } else {
    writing_->session->stop();
  }
}

std::shared_ptr<SessionBitmap> Disk::session_bitmap() const {
  return writing_->bitmap;
}

Result<void> Disk::attach_over(const Disk& parent) {
  area_.flags |= parent.area_.flags & kFlagUnproven;
  UNIONFS_TRY(attach(Access::kReadWrite));
  writing_->session->stop();
  writing_->first_superblock = parent.writing_->first_superblock;
  return {};
}

Result<void> Disk::attach_to_freeze() {
  finishes_freezing_ = true;
  UNIONFS_TRY(attach(Access::kReadWrite));
  writing_->session->stop();
  return {};
}

void Disk::mark_unproven() {
  area_.flags |= kFlagUnproven;
}

Result<void> Disk::finish_freezing() {
  Session& session = *writing_->session;
  UNIONFS_TRY(session.flush());
  UNIONFS_TRY(writing_->stamp->clear());
  area_.features.incompat &= ~upper_format::kIncompatFreezing;
  area_.features.incompat |= upper_format::kIncompatFrozen;
  area_.flags &= ~kFlagInUse;
  // Both slots: whoever falls back to the older one must find it frozen, too.
  for (uint32_t slot = 0; slot < upper_format::kHeaderSlots; ++slot) {
    UNIONFS_TRY(write_state_header(upper_file_, area_));
    UNIONFS_TRY(session.sync());
  }
  return {};
}

void Disk::fail() {
  (void)writing_->session->fail();
}

// ---- checkpoints ---------------------------------------------------------------

bool Disk::has_session() const {
  return writing_ != nullptr && !writing_->bitmap->is_empty();
}

Result<void> Disk::check_has_layer() const {
  if (parent_ == nullptr) {
    return {};
  }
  return invalid(
      "{}: stands on a frozen session, and has no layer of its own before its next checkpoint",
      upper_file_.name());
}

Result<void> Disk::check_can_write() const {
  if (has_journal()) {
    UNIONFS_TRY(check_may_write(upper_file_.name(), layer_->journal_area()));
  }
  StateArea area = area_;
  if (finishes_freezing_) {
    area.features.incompat &= ~upper_format::kIncompatFreezing;
  }
  return check_may_write(upper_file_.name(), area);
}

Result<void> Disk::finish_checkpoint() {
  UNIONFS_TRY(check_can_write());
  return finish_journal(upper_file_, layer_->journal_area());
}

Result<void> Disk::grow(const Geometry& larger) {
  UNIONFS_TRY(check_can_write());
  UNIONFS_TRY(check_has_layer());
  return grow_layer(*layer_, upper_file_, area_, larger);
}

// After a power loss the valid flag may be newer than what it speaks for, and over another
// lower it spoke for other bytes, until it was set once more: by a mount and its unmount, or
// by e2fsck.
Result<void> Disk::check_proven() const {
  if ((area_.flags & kFlagUnproven) == 0) {
    return {};
  }
  ext2::Superblock now;
  UNIONFS_TRY(
      view().read(ext2::kSuperblockOffsetBytes, std::as_writable_bytes(std::span(&now, 1))));
  const ext2::Superblock& first = writing_->first_superblock;
  const bool was_valid = (first.s_state & ext2::kStateValid) != 0;
  if (now.s_lastcheck != first.s_lastcheck || !was_valid || now.s_mtime != first.s_mtime) {
    return {};
  }
  return unsupported(
      "{}: power was lost during this session, or it was over another lower, and the merged image "
      "has not been checked or mounted since",
      upper_file_.name());
}

// A layer made over another lower would fit neither, so nothing is left to chance here.
Result<void> Disk::compare_rest_of_lower(const std::atomic<bool>& is_cancelled) {
  if (lower_watch_ != nullptr && lower_watch_->has_found_all_same()) {
    return {};
  }
  for (const LayerOverLower* layer = layer_.get(); layer != nullptr; layer = layer->layer_below()) {
    if (layer->is_compared()) {
      continue;
    }
    const LowerComparison comparison = layer->lower_comparison(is_cancelled);
    for (const uint32_t index : layer->uncompared()) {
      UNIONFS_TRY(check_not_cancelled(is_cancelled));
      UNIONFS_TRY(note_other_lower(comparison.compare(index)));
    }
  }
  return {};
}

// It is no lower that cannot be read, nor a damaged one; but one at a server may be known to be
// another one by whoever saw that first.
Result<void> Disk::note_other_lower(Result<void> compared) {
  const bool is_other = !compared && (compared.error().kind == ErrorKind::kInvalid ||
                                      !changing_levels_.check_not_replaced());
  if (is_other) {
    area_.flags |= kFlagUnproven;
    UNIONFS_TRY(write_state_header(upper_file_, area_));
    UNIONFS_TRY(upper_file_.sync());
  }
  return compared;
}

// A crash leaves a void upper of the same bytes, or one that stands on the layer.
Result<void> Disk::take_frozen_sessions() {
  constexpr uint64_t kPieceBlocks = 256;
  const uint32_t block_size = geometry().merged().block_size_bytes;
  const BlockNumber end(geometry().merged().block_count);
  SessionBitmap& bitmap = *writing_->bitmap;
  std::vector<std::byte> bytes(kPieceBlocks * block_size);
  std::vector<BlockRange> copied;
  uint64_t count = 0;
  for (BlockNumber block(0); block < end;) {
    const SessionBitmap::BitRun own = bitmap.run_at(block, end);
    const SessionBitmap::BitRun frozen = view().written_by_parents(block, own.end);
    if (own.is_set || !frozen.is_set) {
      block = own.is_set ? own.end : frozen.end;
      continue;
    }
    const Place place = view().place_of(block, std::min(frozen.end, block + kPieceBlocks));
    const ByteSpan piece = ByteSpan(bytes).first((place.end - block) * block_size);
    UNIONFS_TRY(view().read(block.value() * block_size, piece));
    UNIONFS_TRY(upper_file_.write(place.home, piece));
    UNIONFS_TRY(bitmap.reserve(block, place.end));
    copied.push_back({block, place.end});
    count += place.end - block;
    block = place.end;
  }
  UNIONFS_TRY(upper_file_.sync());
  // Until a bit is set, the blocks are still the parents'.
  UNIONFS_TRY(note_other_lower(changing_levels_.check_same()));
  for (const BlockRange& range : copied) {
    UNIONFS_TRY(bitmap.set(range.begin, range.end));
  }
  UNIONFS_TRY(bitmap.write_durable(bitmap.take_dirty()));
  UNIONFS_TRY(upper_file_.sync());
  stand_on_layer(area_, layer_->below().identity());
  UNIONFS_TRY(write_state_header(upper_file_, area_));
  UNIONFS_TRY(upper_file_.sync());
  log_(fmt::format("{}: {} blocks of frozen sessions are copied; it stands on the layer of {} now",
                   upper_file_.name(), count, layer_->below().name()));
  return {};
}

Result<CheckpointFigures> Disk::checkpoint(AskedBy asked_by, const std::atomic<bool>& is_cancelled,
                                           const CheckpointHints& hints) {
  if (Result<void> proven = check_proven(); asked_by == AskedBy::kServer && !proven) {
    proven.error().message +=
        "; mount and unmount it, or have it checked with: unionfs-img checkpoint --fsck";
    return Failure(std::move(proven).error());
  }
  Result<CheckpointFigures> figures = checkpoint_proven(is_cancelled, hints);
  if (!figures) {
    // Whichever read it was that failed.
    UNIONFS_TRY(note_other_lower(changing_levels_.check_not_replaced()));
  }
  return figures;
}

Result<CheckpointFigures> Disk::checkpoint_proven(const std::atomic<bool>& is_cancelled,
                                                  const CheckpointHints& hints) {
  UNIONFS_TRY(compare_rest_of_lower(is_cancelled));
  if (parent_ != nullptr) {
    // What can be refused without copying is refused first.
    UNIONFS_TRY(MergedImage::open("merged image", view()));
    UNIONFS_TRY(take_frozen_sessions());
  }
  return make_checkpoint(*layer_, upper_file_, area_, *writing_->bitmap, is_cancelled, hints,
                         [this] { return note_other_lower(changing_levels_.check_same()); });
}

uint64_t Disk::session_block_count() const {
  return reading_->bitmap->count_set(BlockNumber(geometry().merged().block_count));
}

std::optional<SessionSize> Disk::session_size() const {
  const SessionBitmap* bitmap = nullptr;
  {
    const MutexLock lock(open_mutex_);
    bitmap = writing_ != nullptr   ? writing_->bitmap.get()
             : reading_ != nullptr ? reading_->bitmap.get()
                                   : nullptr;
  }
  if (bitmap == nullptr) {
    return std::nullopt;
  }
  return SessionSize{bitmap->count_set(BlockNumber(geometry().merged().block_count)),
                     bitmap->touched_page_count()};
}

Result<std::unique_ptr<NextLayer>> Disk::next_layer() {
  UNIONFS_TRY(check_has_layer());
  static const std::atomic<bool> is_cancelled{false};
  return NextLayer::build(*layer_, area_, *reading_->bitmap, is_cancelled);
}

}  // namespace unionfs
