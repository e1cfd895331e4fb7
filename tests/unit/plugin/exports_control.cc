// SPDX-License-Identifier: BSD-3-Clause
//
// Metrics of more disks than have some of their own.
#include "plugin/exports_control.h"

#include <sstream>

#include "tests/unit/support/many_disks.h"

using namespace unionfs;
using namespace unionfs::testing;

namespace {

constexpr size_t kMost = ExportsControl::kMostMeasured;

// The lines that begin so.
size_t count_lines(const std::string& text, const std::string& begin) {
  std::istringstream lines(text);
  size_t count = 0;
  for (std::string line; std::getline(lines, line);) {
    count += line.starts_with(begin) ? 1 : 0;
  }
  return count;
}

bool has_line(const std::string& text, const std::string& line) {
  return text.find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("Exports control: of too many exports the first by name have metrics",
          "[exports_control]") {
  ManyDisks disks;
  ControlCounts counts;
  ExportsControl control({"1", "lower"}, *disks.exports, counts);
  std::vector<ClientPointer> clients;
  for (size_t i = 0; i < kMost; ++i) {
    clients.push_back(disks.open(fmt::format("m{:04}", i)));
  }
  std::string metrics = control.metrics();
  CHECK(has_line(metrics, fmt::format("unionfs_exports_open {}", kMost)));
  CHECK(has_line(metrics, "unionfs_exports_left_out 0"));
  CHECK(count_lines(metrics, "unionfs_export_clients{") == kMost);
  CHECK(has_line(metrics, "unionfs_export_clients{export=\"m0999\"} 1"));

  // One before the others, and one behind them.
  clients.push_back(disks.open("a"));
  clients.push_back(disks.open("z"));
  metrics = control.metrics();
  CHECK(has_line(metrics, fmt::format("unionfs_exports_open {}", kMost + 2)));
  CHECK(has_line(metrics, fmt::format("unionfs_clients {}", kMost + 2)));
  CHECK(has_line(metrics, "unionfs_exports_left_out 2"));
  for (const char* name : {"unionfs_export_clients{", "unionfs_export_reads_total{"}) {
    CHECK(count_lines(metrics, name) == kMost);
  }
  CHECK(has_line(metrics, "unionfs_export_clients{export=\"a\"} 1"));
  CHECK(has_line(metrics, "unionfs_export_clients{export=\"m0998\"} 1"));
  CHECK(metrics.find("export=\"m0999\"") == std::string::npos);
  CHECK(metrics.find("export=\"z\"") == std::string::npos);

  // What is told of all is told of all.
  const ControlResult info = control.info({});
  CHECK((info.outcome == ControlOutcome::kDone));
  CHECK(info.text.find("\"z\"") != std::string::npos);
  for (ClientPointer& client : clients) {
    disks.exports->close(std::move(client));
  }
}
