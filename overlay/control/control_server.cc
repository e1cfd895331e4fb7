// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/control_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "overlay/control/control_connection.h"
#include "overlay/control/control_routes.h"
#include "overlay/control/control_worker.h"
#include "overlay/control/http_answer.h"
#include "overlay/control/listening_socket.h"
#include "overlay/host/scope_exit.h"

namespace unionfs {

using ControlClock = std::chrono::steady_clock;

// Of the thread of the socket, but for what says otherwise.
class ControlServer::Loop {
 public:
  Loop(ControlActions& actions, ControlLimits limits, int wakeup)
      : actions_(actions), limits_(limits), wakeup_(wakeup) {}
  // Any thread's.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Any thread's; once.
  Result<void> start(const std::string& path);

 private:
  void run();
  void wait();
  void wake();  // any thread's
  ControlClock::time_point next_deadline() const;
  void take_wakeup();
  void accept_some();
  void accept_one(int descriptor);
  void go_on(ControlConnection& connection, short events);
  void do_request(ControlConnection& connection, const HttpRequest& request);
  void end_connections(ControlClock::time_point now);

  ControlActions& actions_;
  const ControlLimits limits_;
  const int wakeup_;
  std::unique_ptr<ListeningSocket> listening_;
  std::unique_ptr<ControlWorker> worker_;
  std::vector<std::unique_ptr<ControlConnection>> connections_;
  uint64_t next_ticket_ = 1;
  ControlClock::time_point accepts_from_{};  // later when the host lacked descriptors
  std::atomic<bool> has_to_stop_{false};
  std::thread thread_;
};

// ---- life ------------------------------------------------------------------------

Result<void> ControlServer::check_can_start(const std::string& path) {
  return ListeningSocket::check_can_listen(path);
}

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& path,
                                                            ControlActions& actions,
                                                            ControlLimits limits) {
  const int wakeup = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wakeup < 0) {
    return system_failure(errno, "control socket: cannot make an eventfd");
  }
  auto loop = std::make_unique<Loop>(actions, limits, wakeup);
  UNIONFS_TRY(loop->start(path));
  return std::unique_ptr<ControlServer>(new ControlServer(std::move(loop)));
}

ControlServer::ControlServer(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

ControlServer::~ControlServer() = default;

Result<void> ControlServer::Loop::start(const std::string& path) {
  UNIONFS_ASSIGN(listening_, ListeningSocket::listen(path));
  worker_ = std::make_unique<ControlWorker>(limits_.waiting_actions, [this] { wake(); });
  thread_ = std::thread(&Loop::run, this);
  return {};
}

ControlServer::Loop::~Loop() {
  if (thread_.joinable()) {
    has_to_stop_.store(true);
    wake();
    thread_.join();
  }
  listening_.reset();
  connections_.clear();
  worker_.reset();
  ::close(wakeup_);
}

void ControlServer::Loop::wake() {
  const uint64_t one = 1;
  (void)!::write(wakeup_, &one, sizeof(one));  // a counter that is full wakes as well
}

// ---- the thread ------------------------------------------------------------------

void ControlServer::Loop::run() {
  while (!has_to_stop_.load()) {
    try {
      wait();
    } catch (const std::exception&) {  // no memory: those who wait for an answer get none
      connections_.clear();
    }
  }
}

void ControlServer::Loop::wait() {
  const ControlClock::time_point begin = ControlClock::now();
  const bool may_accept = connections_.size() < limits_.connections && begin >= accepts_from_;
  std::vector<pollfd> polled{{wakeup_, POLLIN, 0},
                             {may_accept ? listening_->descriptor() : -1, POLLIN, 0}};
  for (const auto& connection : connections_) {
    polled.push_back({connection->descriptor(), connection->events(), 0});
  }
  const ControlClock::time_point until = next_deadline();
  int milliseconds = -1;
  if (until != ControlClock::time_point::max()) {
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(until - begin).count();
    milliseconds = static_cast<int>(std::clamp<int64_t>(time, 0, 60000));
  }
  if (::poll(polled.data(), polled.size(), milliseconds) < 0) {
    return;  // a signal
  }
  for (size_t i = 2; i < polled.size(); ++i) {
    if (polled[i].revents != 0) {
      go_on(*connections_[i - 2], polled[i].revents);
    }
  }
  take_wakeup();
  end_connections(ControlClock::now());
  if (polled[1].revents != 0) {
    accept_some();
  }
}

ControlClock::time_point ControlServer::Loop::next_deadline() const {
  ControlClock::time_point next = ControlClock::time_point::max();
  for (const auto& connection : connections_) {
    next = std::min(next, connection->deadline().value_or(next));
  }
  const bool is_paused =
      connections_.size() < limits_.connections && accepts_from_ > ControlClock::now();
  return is_paused ? std::min(next, accepts_from_) : next;
}

void ControlServer::Loop::take_wakeup() {
  uint64_t count = 0;
  if (::read(wakeup_, &count, sizeof(count)) < 0) {
    return;
  }
  for (const ControlWorker::Done& done : worker_->take_done()) {
    for (const auto& connection : connections_) {
      if (connection->ticket() == done.ticket && connection->is_waiting_for_action()) {
        connection->answer(control_answer(done.result), ControlClock::now());
      }
    }
  }
}

void ControlServer::Loop::accept_some() {
  constexpr std::chrono::milliseconds kPause(100);
  for (unsigned i = 0; i < limits_.connections && connections_.size() < limits_.connections; ++i) {
    const int descriptor =
        ::accept4(listening_->descriptor(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
      const bool is_short =
          errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS;
      accepts_from_ = is_short ? ControlClock::now() + kPause : accepts_from_;
      return;
    }
    accept_one(descriptor);
  }
}

void ControlServer::Loop::accept_one(int descriptor) {
  bool has_owner = false;
  const ScopeExit close_it([&] {
    if (!has_owner) {
      ::close(descriptor);
    }
  });
  if (!is_own_peer(descriptor)) {
    return;
  }
  connections_.reserve(limits_.connections);
  auto connection = std::make_unique<ControlConnection>(
      descriptor, next_ticket_++, limits_.request_bytes, ControlClock::now() + limits_.time);
  has_owner = true;
  connections_.push_back(std::move(connection));
}

void ControlServer::Loop::go_on(ControlConnection& connection, short events) {
  if (const auto request = connection.go_on(events)) {
    do_request(connection, *request);
  }
}

void ControlServer::Loop::do_request(ControlConnection& connection, const HttpRequest& request) {
  ControlPlan plan = plan_control(request, actions_);
  const ControlClock::time_point now = ControlClock::now();
  if (!plan.action) {
    connection.answer(std::move(plan.answer), now);
  } else if (worker_->add(connection.ticket(), std::move(plan.action))) {
    connection.begin_action(now);
  } else {
    connection.answer(http_error(503, "others wait for the server to do something; try again"),
                      now);
  }
}

void ControlServer::Loop::end_connections(ControlClock::time_point now) {
  for (const auto& connection : connections_) {
    if (connection->deadline().value_or(ControlClock::time_point::max()) <= now) {
      connection->pass_deadline();
    }
  }
  std::erase_if(connections_, [&](const auto& connection) {
    if (connection->is_over()) {
      worker_->forget(connection->ticket());
    }
    return connection->is_over();
  });
}

}  // namespace unionfs
