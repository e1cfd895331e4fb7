// SPDX-License-Identifier: BSD-3-Clause
//
// Which request is answered by what; docs/control.md has the table.
#ifndef UNIONFS_OVERLAY_CONTROL_CONTROL_ROUTES_H
#define UNIONFS_OVERLAY_CONTROL_CONTROL_ROUTES_H

#include <string>

#include "overlay/control/control_actions.h"
#include "overlay/control/control_worker.h"
#include "overlay/control/http_request.h"

namespace unionfs {

// Either an answer, or what has to be done for one.
struct ControlPlan {
  std::string answer;            // its bytes; empty: there is an action
  ControlWorker::Action action;  // refers to the ControlActions
};

ControlPlan plan_control(const HttpRequest& request, ControlActions& actions);

// The bytes of the answer to an action.
std::string control_answer(const ControlResult& result);

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_CONTROL_ROUTES_H
