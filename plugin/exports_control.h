// SPDX-License-Identifier: BSD-3-Clause
//
// What the control socket of a server of many disks can tell and do.
#ifndef UNIONFS_PLUGIN_EXPORTS_CONTROL_H
#define UNIONFS_PLUGIN_EXPORTS_CONTROL_H

#include "overlay/service/exports.h"
#include "plugin/control_answers.h"

namespace unionfs {

// Thread-safe.
class ExportsControl final : public ControlActions {
 public:
  // More exports than these, in the order of their names, have no metrics of their own.
  static constexpr size_t kMostMeasured = 1000;

  // All outlive this.
  ExportsControl(AboutServer about, Exports& exports, ControlCounts& counts)
      : about_(std::move(about)), exports_(exports), counts_(counts) {}

  ControlResult info(const AskedExport& asked) override;
  std::string metrics() override;
  ControlResult flush(const AskedExport& asked) override;
  ControlResult checkpoint(const AskedExport& asked) override;
  ControlResult snapshot(const AskedExport& asked, const std::string& name) override;

 private:
  ControlResult info_of_all();
  ControlResult flush_all();
  // What action(disk) gives, with the export open; no client notices it.
  template <typename Action>
  ControlResult visit(const AskedExport& asked, Action&& action);

  const AboutServer about_;
  Exports& exports_;
  ControlCounts& counts_;
};

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_EXPORTS_CONTROL_H
