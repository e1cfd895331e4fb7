// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/clock.h"

namespace unionfs {
namespace {

class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }

 protected:
  void wait_once(std::unique_lock<std::mutex>& lock, std::condition_variable& condition,
                 TimePoint deadline) override {
    if (deadline == kNever) {
      condition.wait(lock);  // the library may overflow when it converts such a deadline
    } else {
      condition.wait_until(lock, deadline);
    }
  }
};

}  // namespace

Clock& steady_clock() {
  static SteadyClock clock;
  return clock;
}

}  // namespace unionfs
