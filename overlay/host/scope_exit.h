// SPDX-License-Identifier: BSD-3-Clause
//
// Does something when a scope is left: at its end, by a return, or by an exception.
#ifndef UNIONFS_OVERLAY_HOST_SCOPE_EXIT_H
#define UNIONFS_OVERLAY_HOST_SCOPE_EXIT_H

#include <utility>

namespace unionfs {

// `action` must not throw.
template <typename Action>
class [[nodiscard]] ScopeExit {
 public:
  explicit ScopeExit(Action action) : action_(std::move(action)) {}
  ~ScopeExit() { action_(); }
  ScopeExit(const ScopeExit&) = delete;
  ScopeExit& operator=(const ScopeExit&) = delete;

 private:
  Action action_;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_HOST_SCOPE_EXIT_H
