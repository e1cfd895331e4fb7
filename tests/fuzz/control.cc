// SPDX-License-Identifier: BSD-3-Clause
//
// What comes in by the control socket: the bytes of a connection.
#include "overlay/control/control_routes.h"
#include "overlay/control/http_request.h"
#include "tests/fuzz/support/invariant.h"

namespace unionfs::fuzzing {
namespace {

constexpr size_t kMostBytes = 512;

class NoActions final : public ControlActions {
 public:
  ControlResult info(const AskedExport&) override { return {ControlOutcome::kDone, "{}"}; }
  std::string metrics() override { return ""; }
  ControlResult flush(const AskedExport&) override { return {ControlOutcome::kDone, "{}"}; }
  ControlResult checkpoint(const AskedExport&) override { return {ControlOutcome::kDone, "{}"}; }
  ControlResult snapshot(const AskedExport&, const std::string& name) override {
    if (name.empty() || name.size() > 255 || name[0] == '.' ||
        name.find('/') != std::string::npos || name.find('\0') != std::string::npos) {
      broken("a snapshot of a name that is none");
    }
    return {ControlOutcome::kRefused, name};
  }
};

void expect_answer(const std::string& bytes) {
  const size_t head_end = bytes.find("\r\n\r\n");
  if (!bytes.starts_with("HTTP/1.1 ") || head_end == std::string::npos) {
    broken("an answer without a head");
  }
}

void expect_sound(const HttpRequest& request) {
  if (request.target.empty() || request.target[0] != '/' ||
      request.method.size() + request.target.size() + request.body.size() > kMostBytes) {
    broken("a request that is none");
  }
  NoActions actions;
  const ControlPlan plan = plan_control(request, actions);
  expect_answer(plan.action ? control_answer(plan.action()) : plan.answer);
}

}  // namespace
}  // namespace unionfs::fuzzing

// However the bytes are cut on their way, what is refused stays so, and what is whole stays
// the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace unionfs;
  using namespace unionfs::fuzzing;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  size_t before = 0;  // the kind of what came so far
  std::string body;
  for (size_t end = 0; end <= size && end <= 2 * kMostBytes; ++end) {
    const HttpParsed parsed = parse_http_request(all.substr(0, end), kMostBytes);
    if (before != 0 && parsed.index() != before) {
      broken("more bytes make something else of a request");
    }
    const auto* request = std::get_if<HttpRequest>(&parsed);
    if (request != nullptr && before == 0) {
      body = request->body;
      expect_sound(*request);
    }
    if (request != nullptr && request->body != body) {
      broken("more bytes make another body");
    }
    if (end >= kMostBytes && parsed.index() == 0) {
      broken("a request without end");
    }
    before = parsed.index();
  }
  return 0;
}
