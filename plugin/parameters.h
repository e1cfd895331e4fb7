// SPDX-License-Identifier: BSD-3-Clause
//
// What comes behind the plugin's name on nbdkit's command line.
#ifndef UNIONFS_PLUGIN_PARAMETERS_H
#define UNIONFS_PLUGIN_PARAMETERS_H

#include <optional>
#include <string>
#include <vector>

#include "overlay/service/overlay.h"

namespace unionfs {

struct PluginParameters {
  OverlayOptions overlay;                // without what is no parameter
  std::string lower_path;                // lower=
  std::vector<std::string> layer_paths;  // layer=
  std::vector<std::string> bare_paths;   // without a key
  bool checkpoints_by_itself = true;
  bool is_shared = false;    // several clients may write
  std::string control_path;  // of the control socket; empty: there is none

  // Of a server of many disks; without directory_path none of the others is set.
  std::string directory_path;         // dir=
  std::string default_export;         // empty: there is none
  std::optional<bool> may_create;     // create=
  std::optional<size_t> max_exports;  // max-exports=

  bool has_many_disks() const { return !directory_path.empty(); }
};

// As `nbdkit PLUGIN --help` prints it.
extern const char* const kParametersHelp;

// Of nbdkit's callbacks of these names: 0, or -1 after nbdkit_error().
int set_parameter(PluginParameters& parameters, const char* key, const char* value);
int complete_parameters(PluginParameters& parameters);

}  // namespace unionfs

#endif  // UNIONFS_PLUGIN_PARAMETERS_H
