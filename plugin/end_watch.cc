// SPDX-License-Identifier: BSD-3-Clause
#include "plugin/end_watch.h"

#include <poll.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <utility>

namespace unionfs {
namespace {

struct WatchedSignal {
  int number = 0;
  struct sigaction before = {};
  bool is_watched = false;
};

// What a handler of signals may reach.  A thread that has begun one may come to its end after the
// watch did, so none of it ever ends, and the plugin is linked to stay in memory.
std::array<WatchedSignal, 4> watched_signals = {{{SIGINT}, {SIGQUIT}, {SIGTERM}, {SIGHUP}}};
std::atomic<WakeEvent*> watched_event{nullptr};

WakeEvent& event_of_process() {
  static WakeEvent* const event = new WakeEvent();
  return *event;
}

void note_signal(int number) {
  const int error = errno;
  if (WakeEvent* const event = watched_event.load(); event != nullptr) {
    event->signal();
  }
  errno = error;
  for (const WatchedSignal& watched : watched_signals) {
    if (watched.number == number) {
      watched.before.sa_handler(number);
    }
  }
}

// Only what nbdkit handles: the others end or do not end the process without us.
void watch_signal(WatchedSignal& watched) {
  struct sigaction action = {};
  if (::sigaction(watched.number, nullptr, &watched.before) == -1 ||
      (watched.before.sa_flags & SA_SIGINFO) != 0 || watched.before.sa_handler == SIG_DFL ||
      watched.before.sa_handler == SIG_IGN) {
    return;
  }
  action = watched.before;
  action.sa_handler = note_signal;
  watched.is_watched = ::sigaction(watched.number, &action, nullptr) == 0;
}

}  // namespace

EndWatch::EndWatch(std::function<void()> at_end)
    : at_end_(std::move(at_end)), event_(event_of_process()) {
  event_.clear();
  thread_ = std::thread([this] { run(); });
  watched_event.store(&event_);
  for (WatchedSignal& watched : watched_signals) {
    watch_signal(watched);
  }
}

EndWatch::~EndWatch() {
  for (WatchedSignal& watched : watched_signals) {
    if (std::exchange(watched.is_watched, false)) {
      (void)::sigaction(watched.number, &watched.before, nullptr);
    }
  }
  is_stopped_.store(true);
  event_.signal();
  thread_.join();
}

void EndWatch::run() {
  pollfd entry = {event_.descriptor(), POLLIN, 0};
  while (::poll(&entry, 1, -1) == -1 && errno == EINTR) {
  }
  if (!is_stopped_.load()) {
    at_end_();
  }
}

}  // namespace unionfs
