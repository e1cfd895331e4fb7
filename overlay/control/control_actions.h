// SPDX-License-Identifier: BSD-3-Clause
//
// What the control socket can have done.  Who has a disk implements it; the server of the
// socket knows HTTP, and nothing of what happens here.
#ifndef UNIONFS_OVERLAY_CONTROL_CONTROL_ACTIONS_H
#define UNIONFS_OVERLAY_CONTROL_CONTROL_ACTIONS_H

#include <optional>
#include <string>

namespace unionfs {

// How an action ended; the number is the status of the answer.
enum class ControlOutcome {
  kDone = 200,
  kMistaken = 400,  // this server never does that
  kUnknown = 404,   // there is no such export
  kRefused = 409,   // nothing has happened, and later it may be allowed
  kFailed = 500,    // the text says what is the case now
};

struct ControlResult {
  ControlOutcome outcome = ControlOutcome::kDone;
  // kDone: a JSON object.  Else: one line for a person.
  std::string text;
};

// The export that is meant, by its name, which was not checked; nothing: none was named.
using AskedExport = std::optional<std::string>;

// info() and metrics() are called by the thread of the socket and must not wait for what
// takes long.  The others are called by the worker, one at a time.  An exception becomes an answer
// of 500.
class ControlActions {
 public:
  virtual ~ControlActions() = default;

  virtual ControlResult info(const AskedExport& asked) = 0;
  // The text format of Prometheus.
  virtual std::string metrics() = 0;

  virtual ControlResult flush(const AskedExport& asked) = 0;
  virtual ControlResult checkpoint(const AskedExport& asked) = 0;
  // `name` is a plain file name: 1 to 255 bytes, no slash, no leading dot, no byte below 32.
  virtual ControlResult snapshot(const AskedExport& asked, const std::string& name) = 0;
};

}  // namespace unionfs

#endif  // UNIONFS_OVERLAY_CONTROL_CONTROL_ACTIONS_H
