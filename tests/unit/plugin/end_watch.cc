// SPDX-License-Identifier: BSD-3-Clause
//
// Signals that end a server, which others handle, too.
#include "plugin/end_watch.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/unit/support/expect.h"

using namespace unionfs;
using std::chrono::milliseconds;

namespace {

std::atomic<uint64_t> handled{0};

// nbdkit's own, as it were.
class Handler {
 public:
  Handler() {
    struct sigaction action = {};
    action.sa_handler = [](int) { ++handled; };
    action.sa_flags = SA_RESTART;
    REQUIRE(::sigaction(SIGTERM, &action, &before_) == 0);
    handled = 0;
  }
  ~Handler() { (void)::sigaction(SIGTERM, &before_, nullptr); }
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;

 private:
  struct sigaction before_ = {};
};

template <typename Predicate>
bool comes_true(Predicate&& predicate) {
  for (int tries = 0; tries < 1000 && !predicate(); ++tries) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  return predicate();
}

}  // namespace

TEST_CASE("End watch: it is told once, and so is the handler that was there", "[end_watch]") {
  const Handler handler;
  std::atomic<int> told = 0;
  {
    const EndWatch watch([&told] { ++told; });
    CHECK(told == 0);
    ::raise(SIGTERM);
    ::raise(SIGTERM);
    CHECK(comes_true([&told] { return told == 1; }));
  }
  CHECK(told == 1);
  CHECK(handled == 2);
  ::raise(SIGTERM);
  CHECK(told == 1);
  CHECK(handled == 3);
}

TEST_CASE("End watch: it may end without a signal", "[end_watch]") {
  const Handler handler;
  std::atomic<int> told = 0;
  {
    const EndWatch watch([&told] { ++told; });
  }
  CHECK(told == 0);
}

// A thread may be stopped between the beginning of a handler and its end.
TEST_CASE("End watch: a handler that comes late reaches nothing that has ended", "[end_watch]") {
  const Handler handler;
  struct sigaction late = {};
  {
    const EndWatch watch([] {});
    REQUIRE(::sigaction(SIGTERM, nullptr, &late) == 0);
  }
  const int next = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);  // with a number that is free now
  REQUIRE(next != -1);
  late.sa_handler(SIGTERM);
  uint64_t count = 0;
  CHECK(::read(next, &count, sizeof(count)) == -1);
  ::close(next);
  CHECK(handled == 1);
  // What it said was of the watch that has ended.
  std::atomic<int> told = 0;
  {
    const EndWatch watch([&told] { ++told; });
    std::this_thread::sleep_for(milliseconds(50));
  }
  CHECK(told == 0);
}
