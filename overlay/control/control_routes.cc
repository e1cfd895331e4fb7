// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/control_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "fsparse/printable.h"
#include "overlay/control/http_answer.h"

namespace unionfs {
namespace {

using RequestJson = nlohmann::json;

bool is_plain_name(const std::string& name) {
  constexpr size_t kMostBytes = 255;
  return !name.empty() && name.size() <= kMostBytes && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](char character) {
           return character != '/' && static_cast<unsigned char>(character) >= ' ';
         });
}

// NAME of {"name": NAME}, and of nothing else.
std::optional<std::string> snapshot_name(const std::string& body) {
  const RequestJson json = RequestJson::parse(body, nullptr, false);
  if (!json.is_object() || json.size() != 1 || !json.contains("name") ||
      !json["name"].is_string()) {
    return std::nullopt;
  }
  auto name = json["name"].get<std::string>();
  return is_plain_name(name) ? std::optional(std::move(name)) : std::nullopt;
}

ControlPlan plan_snapshot(const HttpRequest& request, ControlActions& actions) {
  const auto name = snapshot_name(request.body);
  if (!name) {
    return {http_error(400,
                       "the body must be {\"name\": NAME}, and NAME a file name of 1 to 255 bytes "
                       "without a slash, a leading dot or control characters"),
            {}};
  }
  return {{}, [&actions, name = *name] { return actions.snapshot(name); }};
}

ControlPlan plan_flush(const HttpRequest&, ControlActions& actions) {
  return {{}, [&actions] { return actions.flush(); }};
}

ControlPlan plan_checkpoint(const HttpRequest&, ControlActions& actions) {
  return {{}, [&actions] { return actions.checkpoint(); }};
}

ControlPlan answer_info(const HttpRequest&, ControlActions& actions) {
  return {http_answer(200, kJsonType, actions.info() + "\n"), {}};
}

ControlPlan answer_metrics(const HttpRequest&, ControlActions& actions) {
  return {http_answer(200, kMetricsType, actions.metrics()), {}};
}

struct ControlRoute {
  std::string_view method;
  std::string_view target;
  ControlPlan (*plan)(const HttpRequest&, ControlActions&);
};

constexpr ControlRoute kControlRoutes[] = {
    {"GET", "/v1/info", answer_info},        {"GET", "/v1/metrics", answer_metrics},
    {"POST", "/v1/flush", plan_flush},       {"POST", "/v1/checkpoint", plan_checkpoint},
    {"POST", "/v1/snapshot", plan_snapshot},
};

}  // namespace

ControlPlan plan_control(const HttpRequest& request, ControlActions& actions) {
  for (const ControlRoute& route : kControlRoutes) {
    if (route.target != request.target) {
      continue;
    }
    if (route.method != request.method) {
      return {http_error(405, fmt::format("{} takes {} only", route.target, route.method),
                         fmt::format("Allow: {}\r\n", route.method)),
              {}};
    }
    try {
      return route.plan(request, actions);
    } catch (const std::exception& exception) {  // no memory
      return {http_error(500, exception.what()), {}};
    }
  }
  return {http_error(404, fmt::format("there is no {}", quoted_name(request.target))), {}};
}

std::string control_answer(const ControlResult& result) {
  const int status = static_cast<int>(result.outcome);
  return result.outcome == ControlOutcome::kDone
             ? http_answer(status, kJsonType, result.text + "\n")
             : http_error(status, result.text);
}

}  // namespace unionfs
