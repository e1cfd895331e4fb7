// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/service/export_schedule.h"

#include <utility>

namespace unionfs {

void ExportSchedule::start(size_t worker_count) {
  threads_.emplace_back([this] { wait_for_due(); });
  for (size_t i = 0; i < worker_count; ++i) {
    threads_.emplace_back([this] { work(); });
  }
}

void ExportSchedule::stop() {
  {
    const MutexLock lock(mutex_);
    has_to_stop_ = true;
    timer_wakeup_.notify_all();
    work_there_.notify_all();
  }
  for (std::thread& thread : threads_) {
    thread.join();
  }
  threads_.clear();
  // A task may own what calls at() when it ends.
  std::multimap<Clock::TimePoint, Task> waiting;
  std::deque<Task> ready;
  const MutexLock lock(mutex_);
  waiting.swap(waiting_);
  ready.swap(ready_);
}

void ExportSchedule::at(Clock::TimePoint due_at, Task task) {
  const MutexLock lock(mutex_);
  if (!has_to_stop_) {
    waiting_.emplace(due_at, std::move(task));
    timer_wakeup_.notify_one();
  }
}

Clock::TimePoint ExportSchedule::next_due() const {
  return waiting_.empty() ? Clock::kNever : waiting_.begin()->first;
}

void ExportSchedule::wait_for_due() {
  const MutexLock lock(mutex_);
  while (!has_to_stop_) {
    if (clock_.wait(mutex_, timer_wakeup_, next_due())) {
      continue;
    }
    ready_.push_back(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
    work_there_.notify_one();
  }
}

void ExportSchedule::work() {
  const MutexLock lock(mutex_);
  while (true) {
    while (!has_to_stop_ && ready_.empty()) {
      (void)clock_.wait(mutex_, work_there_);
    }
    if (has_to_stop_) {
      return;
    }
    Task task = std::move(ready_.front());
    ready_.pop_front();
    const MutexUnlock unlocked(mutex_);
    task();
    task = nullptr;
  }
}

}  // namespace unionfs
