// SPDX-License-Identifier: BSD-3-Clause
#include "overlay/rebase/beside.h"

namespace unionfs {

std::string name_beside(std::string name, unsigned number) {
  const std::string suffix = number == 0 ? ".ours" : ".ours." + std::to_string(number);
  if (name.size() + suffix.size() > ext2::kMaxNameBytes) {
    size_t end = ext2::kMaxNameBytes - suffix.size();
    while (end > 1 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) {
      --end;
    }
    name.resize(end);
  }
  return name + suffix;
}

bool take_privileges(FileState& state) {
  constexpr uint16_t kSetIds = 06000;
  const size_t taken = std::erase_if(state.attributes, [](const Attribute& attribute) {
    return attribute.name_index == ext2::kXattrIndexSecurity && attribute.name == "capability";
  });
  const bool has_any = (state.mode & kSetIds) != 0 || taken > 0;
  if (state.is_regular()) {
    state.mode = static_cast<uint16_t>(state.mode & ~kSetIds);
  }
  return has_any;
}

}  // namespace unionfs
