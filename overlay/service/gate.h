// SPDX-License-Identifier: BSD-3-Clause
//
// A gate that many threads pass, and that one of them closes now and then: while it is closed
// nobody is inside.
#ifndef UNIONFS_OVERLAY_SERVICE_GATE_H
#define UNIONFS_OVERLAY_SERVICE_GATE_H

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "overlay/host/mutex.h"

namespace unionfs {

// Thread-safe.  Whoever closes it sees what others did inside, and they see afterwards what was
// done meanwhile.
class Gate {
  // Threads that come at once mostly count in different cache lines.
  struct alignas(64) Slot {
    std::atomic<uint32_t> inside{0};
  };

 public:
  // Inside while it exists; waits while the gate is closed.  A thread passes a gate once at a
  // time, or it may wait for itself.
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate), slot_(gate.enter()) {}
    ~Pass() { gate_.leave(slot_); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate& gate_;
    Slot& slot_;
  };

  // Closes a gate until open(), or while it exists.  close() waits until those inside have left;
  // who comes meanwhile waits.  It may be closed again after it was opened.
  class Closed {
   public:
    Closed() = default;
    explicit Closed(Gate& gate) { close(gate); }
    ~Closed() { open(); }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

    void close(Gate& gate) {
      gate.close();
      gate_ = &gate;
    }
    void open() {
      if (gate_ != nullptr) {
        std::exchange(gate_, nullptr)->open();
      }
    }

   private:
    Gate* gate_ = nullptr;
  };

  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

 private:
  Slot& enter() UNIONFS_EXCLUDES(mutex_);
  void leave(Slot& slot) UNIONFS_EXCLUDES(mutex_);
  void close() UNIONFS_EXCLUDES(mutex_);
  void open() UNIONFS_EXCLUDES(mutex_);
  bool is_empty() const;

  std::array<Slot, 32> slots_;
  std::atomic<bool> is_closed_{false};  // changed with mutex_ held
  Mutex mutex_;
  Condition changed_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_SERVICE_GATE_H
