// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/control/control_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
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

std::optional<char> escaped_byte(std::string_view digits) {
  constexpr size_t kDigits = 2;
  unsigned value = 0;
  const char* const end = digits.data() + digits.size();
  const bool is_byte =
      digits.size() == kDigits && std::from_chars(digits.data(), end, value, 16).ptr == end;
  return is_byte ? std::optional(static_cast<char>(value)) : std::nullopt;
}

// As programs write it: "%2B" for a plus, and a plus for a space.
std::optional<std::string> decoded(std::string_view text) {
  constexpr size_t kEscapeBytes = 3;
  std::string all;
  while (!text.empty()) {
    const bool is_escape = text.front() == '%';
    const auto byte = is_escape ? escaped_byte(text.substr(1, kEscapeBytes - 1))
                                : std::optional(text.front() == '+' ? ' ' : text.front());
    if (!byte) {
      return std::nullopt;
    }
    all += *byte;
    text.remove_prefix(is_escape ? kEscapeBytes : 1);
  }
  return all;
}

// A target in its parts.
struct AskedTarget {
  std::string_view path;
  AskedExport asked;
  bool is_sound = true;  // behind the path there is nothing, or "?export=NAME"
};

AskedTarget asked_target(std::string_view target) {
  constexpr std::string_view kExport = "?export=";
  const size_t query = std::min(target.find('?'), target.size());
  AskedTarget found{target.substr(0, query), std::nullopt};
  const std::string_view rest = target.substr(query);
  if (rest.starts_with(kExport) && rest.find('&') == std::string_view::npos) {
    found.asked = decoded(rest.substr(kExport.size()));
  }
  found.is_sound = rest.empty() || found.asked;
  return found;
}

ControlPlan plan_snapshot(const HttpRequest& request, const AskedExport& asked,
                          ControlActions& actions) {
  const auto name = snapshot_name(request.body);
  if (!name) {
    return {http_error(400,
                       "the body must be {\"name\": NAME}, and NAME a file name of 1 to 255 bytes "
                       "without a slash, a leading dot or control characters"),
            {}};
  }
  return {{}, [&actions, asked, name = *name] { return actions.snapshot(asked, name); }};
}

ControlPlan plan_flush(const HttpRequest&, const AskedExport& asked, ControlActions& actions) {
  return {{}, [&actions, asked] { return actions.flush(asked); }};
}

ControlPlan plan_checkpoint(const HttpRequest&, const AskedExport& asked, ControlActions& actions) {
  return {{}, [&actions, asked] { return actions.checkpoint(asked); }};
}

ControlPlan answer_info(const HttpRequest&, const AskedExport& asked, ControlActions& actions) {
  return {control_answer(actions.info(asked)), {}};
}

ControlPlan answer_metrics(const HttpRequest&, const AskedExport& asked, ControlActions& actions) {
  if (asked) {
    return {http_error(400, "metrics are of all exports at once"), {}};
  }
  return {http_answer(200, kMetricsType, actions.metrics()), {}};
}

struct ControlRoute {
  std::string_view method;
  std::string_view path;
  ControlPlan (*plan)(const HttpRequest&, const AskedExport&, ControlActions&);
};

constexpr ControlRoute kControlRoutes[] = {
    {"GET", "/v1/info", answer_info},        {"GET", "/v1/metrics", answer_metrics},
    {"POST", "/v1/flush", plan_flush},       {"POST", "/v1/checkpoint", plan_checkpoint},
    {"POST", "/v1/snapshot", plan_snapshot},
};

}  // namespace

ControlPlan plan_control(const HttpRequest& request, ControlActions& actions) {
  const AskedTarget target = asked_target(request.target);
  for (const ControlRoute& route : kControlRoutes) {
    if (route.path != target.path) {
      continue;
    }
    if (route.method != request.method) {
      return {http_error(405, fmt::format("{} takes {} only", route.path, route.method),
                         fmt::format("Allow: {}\r\n", route.method)),
              {}};
    }
    if (!target.is_sound) {
      return {http_error(400,
                         "behind the path may stand ?export=NAME, with % and two digits for "
                         "what is no plain letter"),
              {}};
    }
    try {
      return route.plan(request, target.asked, actions);
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
