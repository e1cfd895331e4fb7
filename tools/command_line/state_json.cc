// SPDX-License-Identifier: BSD-3-Clause
#include "tools/command_line/state_json.h"

#include <fmt/format.h>

#include "fsparse/inode.h"

namespace unionfs::img {

std::string base64(ConstByteSpan bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  constexpr size_t kGroupBytes = 3;
  std::string text;
  text.reserve((bytes.size() + 2) / kGroupBytes * 4);
  for (size_t begin = 0; begin < bytes.size(); begin += kGroupBytes) {
    const size_t count = std::min(kGroupBytes, bytes.size() - begin);
    uint32_t group = 0;
    for (size_t i = 0; i < kGroupBytes; ++i) {
      group = group << 8 | (i < count ? std::to_integer<uint32_t>(bytes[begin + i]) : 0);
    }
    for (size_t digit = 0; digit <= kGroupBytes; ++digit) {
      text += digit <= count ? kDigits[group >> (18 - 6 * digit) & 63] : '=';
    }
  }
  return text;
}

void put_bytes(Json& json, const std::string& key, std::string_view bytes) {
  std::string text = printable(bytes);
  const bool is_same = text == bytes;
  json[key] = std::move(text);
  if (!is_same) {
    json[key + "_base64"] =
        base64({reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
  }
}

Json to_json(const FileTime& time) {
  return {{"sec", time.seconds}, {"nsec", time.nanoseconds}};
}

Json to_json(const FileState& state) {
  const uint8_t file_type = file_type_of(state.mode);
  Json json{{"inode", state.inode.value()},
            {"type", type_name(file_type)},
            {"mode", fmt::format("{:04o}", state.permissions())},
            {"uid", state.user_id},
            {"gid", state.group_id},
            {"flags", state.user_flags},
            {"size", state.size_bytes},
            {"links", state.links_count},
            {"mtime", to_json(state.modified)},
            {"ctime", to_json(state.changed)}};
  if (state.created) {
    json["crtime"] = to_json(*state.created);
  }
  if (file_type == ext2::kFileTypeSymlink) {
    put_bytes(json, "target", state.target);
  }
  if (file_type == ext2::kFileTypeCharDevice || file_type == ext2::kFileTypeBlockDevice) {
    json["device"] = {{"major", state.device_major}, {"minor", state.device_minor}};
  }
  for (const Attribute& attribute : state.attributes) {
    json["xattrs"][printable(attribute.full_name())] = base64(attribute.value);
  }
  return json;
}

}  // namespace unionfs::img
