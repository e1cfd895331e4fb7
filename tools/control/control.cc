// SPDX-License-Identifier: BSD-3-Clause
#include "tools/control/control.h"

#include <memory>
#include <optional>
#include <string_view>

#include "tools/command_line/arguments.h"
#include "tools/command_line/text.h"
#include "tools/control/control_client.h"

namespace unionfs::img {
namespace {

constexpr const char* kControlOption = "--control";

struct ControlArguments {
  std::string socket;
  std::optional<std::string> export_name;
  std::string name;  // of a snapshot
  bool as_json = false;
};

using ControlCommand = Result<int> (*)(const ControlArguments&);

// What is no plain letter is escaped.
std::string target_of(const ControlArguments& arguments, std::string_view path) {
  std::string target(path);
  if (!arguments.export_name) {
    return target;
  }
  target += "?export=";
  for (const char c : *arguments.export_name) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') ||
                          std::string_view("-._~").find(c) != std::string_view::npos;
    target += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return target;
}

Result<std::string> get(const ControlArguments& arguments, std::string_view path) {
  return ask_server(arguments.socket, "GET", target_of(arguments, path), {}, true);
}

Result<Json> json_of(const ControlArguments& arguments, const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) {
    return invalid("{}: the answer is no JSON object", printable(arguments.socket));
  }
  return json;
}

Result<Json> post(const ControlArguments& arguments, std::string_view path,
                  std::string_view body = {}) {
  UNIONFS_ASSIGN(const std::string text,
                 ask_server(arguments.socket, "POST", target_of(arguments, path), body, false));
  return json_of(arguments, text);
}

std::string human_value(const Json& value) {
  if (value.is_string()) {
    return printable(value.get<std::string>());
  }
  if (value.is_boolean()) {
    return value.get<bool>() ? "yes" : "no";
  }
  return value.is_null() ? "unknown" : value.dump();
}

// "written-blocks 3, failed no"
std::string members_in_line(const Json& object) {
  std::string text;
  for (const auto& [key, member] : object.items()) {
    const std::string value =
        member.is_object() ? fmt::format("({})", members_in_line(member)) : human_value(member);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", printable(key), value);
  }
  return text;
}

// Without what an object in it does not have.
void print_list(const std::string& key, const Json& list) {
  fmt::print("{}:\n", printable(key));
  for (Json object : list) {
    for (auto member = object.begin(); member != object.end();) {
      member = member->is_null() ? object.erase(member) : std::next(member);
    }
    fmt::print("  {}\n", members_in_line(object));
  }
}

// "merged-size: 4096", "session: written-blocks 3", and a line for each object of a list.
void print_members(const Json& json) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_array()) {
      print_list(key, value);
    } else {
      fmt::print("{}: {}\n", printable(key),
                 value.is_object() ? members_in_line(value) : human_value(value));
    }
  }
}

Result<int> control_info(const ControlArguments& arguments) {
  UNIONFS_ASSIGN(const std::string text, get(arguments, "/v1/info"));
  UNIONFS_ASSIGN(const Json json, json_of(arguments, text));
  if (arguments.as_json) {
    print_json(json);
  } else {
    print_members(json);
  }
  return kExitSuccess;
}

Result<int> control_metrics(const ControlArguments& arguments) {
  UNIONFS_ASSIGN(const std::string text, get(arguments, "/v1/metrics"));
  fmt::print("{}", text);
  return kExitSuccess;
}

Result<int> control_post(const ControlArguments& arguments, std::string_view path,
                         std::string_view body = {}) {
  UNIONFS_ASSIGN(const Json json, post(arguments, path, body));
  if (arguments.as_json) {
    print_json(json);
  } else {
    print_members(json);
  }
  return kExitSuccess;
}

Result<int> control_flush(const ControlArguments& arguments) {
  return control_post(arguments, "/v1/flush");
}

Result<int> control_checkpoint(const ControlArguments& arguments) {
  return control_post(arguments, "/v1/checkpoint");
}

Result<int> control_snapshot(const ControlArguments& arguments) {
  const Json body{{"name", arguments.name}};
  return control_post(arguments, "/v1/snapshot",
                      body.dump(-1, ' ', false, Json::error_handler_t::replace));
}

CLI::App* add_control(CLI::App& app, const std::shared_ptr<ControlArguments>& arguments,
                      Command& chosen, const char* name, const char* help, ControlCommand command) {
  CLI::App* added = app.add_subcommand(name, help);
  added->callback([arguments, command, &chosen] {
    chosen = [arguments, command] { return command(*arguments); };
  });
  return added;
}

}  // namespace

bool is_for_server(int argc, const char* const* argv) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  return first == kControlOption || first.starts_with(std::string(kControlOption) + "=");
}

void add_control_option(CLI::App& app) {
  app.add_option(kControlOption,
                 "Instead: ask the server of this control socket, which has the commands info, "
                 "metrics, flush, checkpoint and snapshot")
      ->type_name("SOCKET");
}

void add_control_commands(CLI::App& app, Command& chosen) {
  const auto arguments = std::make_shared<ControlArguments>();
  app.add_option(kControlOption, arguments->socket, "The server's control socket (control=)")
      ->required()
      ->type_name("SOCKET");
  app.add_option("--export", arguments->export_name,
                 "The export that is meant, where the server has many (dir=)")
      ->type_name("NAME");
  const auto add = [&](const char* name, const char* help, ControlCommand command) {
    return add_control(app, arguments, chosen, name, help, command);
  };
  add_output_format(*add("info", "Say how the disk does", control_info), arguments->as_json);
  add("metrics", "Print counters and gauges, as Prometheus reads them", control_metrics);
  add_output_format(*add("flush", "Have what was written survive a power loss", control_flush),
                    arguments->as_json);
  add_output_format(
      *add("checkpoint", "Have the session turned into the layer, if no client is there",
           control_checkpoint),
      arguments->as_json);
  CLI::App* snapshot = add("snapshot", "Freeze the upper under another name", control_snapshot);
  snapshot->add_option("NAME", arguments->name, "The name, in the upper's directory")
      ->required()
      ->type_name("");
  add_output_format(*snapshot, arguments->as_json);
}

}  // namespace unionfs::img
