// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/host/clock.h"

namespace unionfs {
namespace {

class SteadyClock final : public Clock {
 public:
  TimePoint now() const override { return std::chrono::steady_clock::now(); }

 protected:
  void wait_once(Mutex& mutex, Condition& condition, TimePoint deadline)
      UNIONFS_REQUIRES(mutex) override {
    if (deadline == kNever) {
      condition.wait(mutex);  // the library may overflow when it converts such a deadline
    } else {
      (void)condition.wait_until(mutex, deadline);
    }
  }
};

}  // namespace

Clock& steady_clock() {
  static SteadyClock clock;
  return clock;
}

}  // namespace unionfs
