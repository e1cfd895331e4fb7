// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/gate.h"

#include <algorithm>

namespace unionfs {
namespace {

size_t number_of_thread() {
  static std::atomic<size_t> next{0};
  thread_local const size_t mine = next.fetch_add(1, std::memory_order_relaxed);
  return mine;
}

}  // namespace

// Each counts itself first and looks at the flag then, and who closes sets the flag first and looks
// at the counts then.  So one of the two sees the other: these orders are sequential.
Gate::Slot& Gate::enter() {
  Slot& slot = slots_[number_of_thread() % slots_.size()];
  while (true) {
    slot.inside.fetch_add(1);
    if (!is_closed_.load()) {
      return slot;
    }
    leave(slot);
    const MutexLock lock(mutex_);
    while (is_closed_.load()) {
      changed_.wait(mutex_);
    }
  }
}

void Gate::leave(Slot& slot) {
  slot.inside.fetch_sub(1);
  if (is_closed_.load()) {
    const MutexLock lock(mutex_);
    changed_.notify_all();
  }
}

bool Gate::is_empty() const {
  return std::all_of(slots_.begin(), slots_.end(),
                     [](const Slot& slot) { return slot.inside.load() == 0; });
}

void Gate::close() {
  const MutexLock lock(mutex_);
  while (is_closed_.load()) {
    changed_.wait(mutex_);
  }
  is_closed_.store(true);
  while (!is_empty()) {
    changed_.wait(mutex_);
  }
}

void Gate::open() {
  const MutexLock lock(mutex_);
  is_closed_.store(false);
  changed_.notify_all();
}

}  // namespace unionfs
