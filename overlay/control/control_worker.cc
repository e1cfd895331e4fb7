// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/control_worker.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace unionfs {

ControlWorker::ControlWorker(unsigned most_waiting, std::function<void()> on_done)
    : most_waiting_(most_waiting),
      on_done_(std::move(on_done)),
      thread_(&ControlWorker::run, this) {}

ControlWorker::~ControlWorker() {
  {
    const MutexLock lock(mutex_);
    has_to_stop_ = true;
    changed_.notify_one();
  }
  thread_.join();
}

bool ControlWorker::add(uint64_t ticket, Action action) {
  const MutexLock lock(mutex_);
  if (waiting_.size() >= most_waiting_) {
    return false;
  }
  waiting_.push_back({ticket, std::move(action)});
  changed_.notify_one();
  return true;
}

void ControlWorker::forget(uint64_t ticket) {
  const MutexLock lock(mutex_);
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.ticket == ticket; });
}

std::vector<ControlWorker::Done> ControlWorker::take_done() {
  const MutexLock lock(mutex_);
  return std::exchange(done_, {});
}

void ControlWorker::run() {
  const MutexLock lock(mutex_);
  while (true) {
    while (!has_to_stop_ && waiting_.empty()) {
      changed_.wait(mutex_);
    }
    if (has_to_stop_) {
      return;
    }
    const Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    ControlResult result;
    {
      const MutexUnlock unlocked(mutex_);
      try {
        result = next.action();
      } catch (const std::exception& exception) {  // no memory
        result = {ControlOutcome::kFailed, exception.what()};
      }
    }
    done_.push_back({next.ticket, std::move(result)});
    on_done_();
  }
}

}  // namespace unionfs
