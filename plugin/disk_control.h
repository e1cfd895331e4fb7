// SPDX-License-Identifier: BSD-3-Clause
//
// What the control socket of a server of one disk can tell and do.
#ifndef UNIONFS_PLUGIN_DISK_CONTROL_H
#define UNIONFS_PLUGIN_DISK_CONTROL_H

#include "plugin/control_answers.h"

namespace unionfs {

// Thread-safe.
class DiskControl final : public ControlActions {
 public:
  // All outlive this.
  DiskControl(AboutServer about, Overlay& overlay, AutoCheckpoint& checkpointer,
              ControlCounts& counts)
      : about_(std::move(about)), overlay_(overlay), checkpointer_(checkpointer), counts_(counts) {}

  ControlResult info(const AskedExport& asked) override;
  std::string metrics() override;
  ControlResult flush(const AskedExport& asked) override;
  ControlResult checkpoint(const AskedExport& asked) override;
  ControlResult snapshot(const AskedExport& asked, const std::string& name) override;

 private:
  static ControlResult no_export();

  const AboutServer about_;
  Overlay& overlay_;
  AutoCheckpoint& checkpointer_;
  ControlCounts& counts_;
};

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_DISK_CONTROL_H
