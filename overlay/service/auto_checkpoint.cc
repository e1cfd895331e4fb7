// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/auto_checkpoint.h"

#include <utility>

namespace unionfs {
namespace {

// Probes open and close, and a client that lost its connection comes back.
constexpr std::chrono::seconds kGrace(1);

}  // namespace

void AutoCheckpoint::start(LeftSession left_session, CheckpointsWhen when) {
  when_ = when;
  if (left_session == LeftSession::kLayer) {
    const MutexLock making(making_mutex_);
    // What fails here is told to the first client.
    has_left_session_ = overlay_.has_left_session().value_or(false);
    const MutexLock lock(mutex_);
    due_at_ = has_left_session_ ? clock_.now() + kGrace : Clock::kNever;
  }
  if (when != CheckpointsWhen::kByItself) {
    return;
  }
  thread_ = std::thread(&AutoCheckpoint::run, this);
}

void AutoCheckpoint::client_opens() {
  const MutexLock lock(mutex_);
  ++clients_;
  due_at_ = Clock::kNever;
  overlay_.cancel_checkpoint(true);
  changed_.notify_one();
}

void AutoCheckpoint::client_closed() {
  const MutexLock lock(mutex_);
  --clients_;
  if (clients_ == 0) {
    overlay_.cancel_checkpoint(false);
    due_at_ = clock_.now() + kGrace;
    changed_.notify_one();
  }
}

void AutoCheckpoint::run() {
  const MutexLock lock(mutex_);
  while (!has_to_stop_) {
    if (clock_.wait(mutex_, changed_, due_at_)) {
      continue;
    }
    due_at_ = Clock::kNever;
    const MutexUnlock unlocked(mutex_);
    (void)checkpoint_now();
  }
}

CheckpointResult AutoCheckpoint::checkpoint_now() {
  const MutexLock lock(making_mutex_);
  const Clock::TimePoint begin = clock_.now();
  CheckpointResult result = try_checkpoint();
  report(result, begin);
  return result;
}

CheckpointResult AutoCheckpoint::try_checkpoint() {
  try {
    const Result<void> taken =
        std::exchange(has_left_session_, false) ? overlay_.take_left_session() : Result<void>();
    return taken ? overlay_.checkpoint(AskedBy::kServer)
                 : tl::unexpected(CheckpointFailure{taken.error(), Commitment::kNone});
  } catch (const std::exception& exception) {  // no memory to open the upper again
    return tl::unexpected(CheckpointFailure{Error{ErrorKind::kSystem, ENOMEM, exception.what()},
                                            Commitment::kUnknown});
  }
}

void AutoCheckpoint::report(const CheckpointResult& result, Clock::TimePoint begin) {
  if (!result) {
    if (result.error().error.error_number != ECANCELED) {
      log_(describe(result.error()));
      const MutexLock lock(mutex_);
      ++counts_.refused;
      if (totals_ != nullptr) {
        totals_->count_refused();
      }
    }
  } else if (*result) {
    const CheckpointFigures& figures = **result;
    const std::chrono::duration<double> seconds = clock_.now() - begin;
    log_(
        fmt::format("{}: checkpoint made: {} blocks that clients wrote are {} files more and {} "
                    "bytes of the layer, in {:.1f} s",
                    overlay_.upper_path(), figures.written_blocks, figures.own_inodes_added,
                    figures.staged_bytes, seconds.count()));
    debug_(
        fmt::format("checkpoint: {} inodes searched for owners of blocks, {} directories for "
                    "names",
                    figures.inodes_searched, figures.directories_searched));
    const MutexLock lock(mutex_);
    ++counts_.made;
    if (totals_ != nullptr) {
      totals_->count_made();
    }
  }
}

AskedCheckpoint AutoCheckpoint::ask() {
  AskedCheckpoint asked;
  asked.clients = client_count();
  if (asked.clients > 0) {
    return asked;
  }
  asked.result = checkpoint_now();
  const bool has_done_nothing = asked.result ? !asked.result->has_value()
                                             : asked.result.error().error.error_number == ECANCELED;
  // A client may have come meanwhile, and has cancelled it.
  asked.clients = has_done_nothing ? client_count() : 0;
  return asked;
}

uint64_t AutoCheckpoint::client_count() const {
  const MutexLock lock(mutex_);
  return clients_;
}

CheckpointCounts AutoCheckpoint::counts() const {
  const MutexLock lock(mutex_);
  return counts_;
}

void AutoCheckpoint::stop() {
  if (!thread_.joinable()) {
    return;
  }
  {
    const MutexLock lock(mutex_);
    has_to_stop_ = true;
    changed_.notify_one();
  }
  thread_.join();
}

void AutoCheckpoint::finish() {
  stop();
  if (when_ == CheckpointsWhen::kAsked) {
    return;
  }
  overlay_.cancel_checkpoint(false);
  (void)checkpoint_now();
}

}  // namespace unionfs
