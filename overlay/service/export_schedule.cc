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
    const std::lock_guard<std::mutex> guard(mutex_);
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
  const std::lock_guard<std::mutex> guard(mutex_);
  waiting.swap(waiting_);
  ready.swap(ready_);
}

void ExportSchedule::at(Clock::TimePoint due_at, Task task) {
  const std::lock_guard<std::mutex> guard(mutex_);
  if (!has_to_stop_) {
    waiting_.emplace(due_at, std::move(task));
    timer_wakeup_.notify_one();
  }
}

Clock::TimePoint ExportSchedule::next_due() const {
  return waiting_.empty() ? Clock::kNever : waiting_.begin()->first;
}

void ExportSchedule::wait_for_due() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!has_to_stop_) {
    const Clock::TimePoint due_at = next_due();
    if (clock_.wait_until(lock, timer_wakeup_, due_at,
                          [&] { return has_to_stop_ || next_due() != due_at; })) {
      continue;
    }
    ready_.push_back(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
    work_there_.notify_one();
  }
}

void ExportSchedule::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    clock_.wait(lock, work_there_, [this] { return has_to_stop_ || !ready_.empty(); });
    if (has_to_stop_) {
      return;
    }
    Task task = std::move(ready_.front());
    ready_.pop_front();
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
  }
}

}  // namespace unionfs
