// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/session/flusher.h"

#include "overlay/session/session.h"

namespace unionfs {
namespace {

constexpr std::chrono::seconds kQuiet(2);

}  // namespace

Flusher::Flusher(Clock& clock) : clock_(clock), thread_([this] { run(); }) {}

Flusher::~Flusher() {
  {
    const MutexLock lock(mutex_);
    has_to_stop_ = true;
    changed_.notify_one();
  }
  thread_.join();
}

void Flusher::add(Session& session) {
  const MutexLock lock(mutex_);
  Watched& watched = sessions_.try_emplace(&session).first->second;
  if (session.clear_new_changes()) {
    set_due(session, watched, clock_.now() + kQuiet);
    changed_.notify_one();
  }
}

bool Flusher::remove(Session& session) {
  const MutexLock lock(mutex_);
  while (busy_ == &session) {
    flushed_.wait(mutex_);
  }
  const auto at = sessions_.find(&session);
  if (at == sessions_.end()) {
    return false;
  }
  const bool was_due = due_.erase({at->second.due_at, &session}) != 0;
  sessions_.erase(at);
  return was_due;
}

// A change looks at the session's flag after it was made.  One that found the flag set did so
// before it was cleared here, so it was made two seconds or more before the flush that follows,
// which covers it.  One that found it clear has set it, and comes here: the next flush covers it.
void Flusher::wake(Session& session) {
  const MutexLock lock(mutex_);
  const auto at = sessions_.find(&session);
  if (at == sessions_.end() || at->second.due_at != Clock::kNever || busy_ == &session) {
    return;  // it is looked at when it is due, or when its flush is done
  }
  session.clear_new_changes();
  set_due(session, at->second, clock_.now() + kQuiet);
  changed_.notify_one();
}

void Flusher::set_due(Session& session, Watched& watched, Clock::TimePoint due_at) {
  due_.erase({watched.due_at, &session});
  watched.due_at = due_at;
  if (due_at != Clock::kNever) {
    due_.insert({due_at, &session});
  }
}

Clock::TimePoint Flusher::next_due() const {
  return due_.empty() ? Clock::kNever : due_.begin()->first;
}

void Flusher::run() {
  const MutexLock lock(mutex_);
  while (!has_to_stop_) {
    if (clock_.wait(mutex_, changed_, next_due())) {
      continue;
    }
    Session& session = *due_.begin()->second;
    if (session.clear_new_changes()) {
      set_due(session, sessions_[&session], clock_.now() + kQuiet);
    } else {
      flush_one(session);
    }
  }
}

void Flusher::flush_one(Session& session) {
  Watched& watched = sessions_[&session];  // remove() waits, so it stays
  set_due(session, watched, Clock::kNever);
  busy_ = &session;
  bool is_clean = false;
  {
    const MutexUnlock unlocked(mutex_);
    is_clean = session.flush_by_itself(watched.has_complained);
  }
  busy_ = nullptr;
  // What changed meanwhile has set the flag, and came here in vain.
  if (session.clear_new_changes() || !is_clean) {
    set_due(session, watched, clock_.now() + kQuiet);
  }
  flushed_.notify_all();
}

}  // namespace unionfs
